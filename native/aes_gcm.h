#pragma once
// AES-GCM (NIST SP 800-38D) for packets, by the processor's AES and carry-less multiplication instructions. OpenSSL runs
// the same instructions, but its way to them costs several times as much as 172 octets do. x86-64 only; where it is not
// available, SrtpCipher goes through OpenSSL.

#include <array>

#include "bytes.h"

namespace sdpserver {

class AesGcm {
   public:
    static constexpr size_t kIv = 12;
    static constexpr size_t kTag = 16;
    /// Most octets of associated data and text together: what a datagram may hold, and more.
    static constexpr size_t kMaxText = 4096;

    /// Whether the processor has what it takes.
    static bool available();

    /// `key`: 16 or 32 octets.
    explicit AesGcm(ConstBytes key);
    ~AesGcm();
    AesGcm(const AesGcm&) = delete;
    AesGcm& operator=(const AesGcm&) = delete;

    /// Encrypts `text` in place and writes `kTag` octets to `tag`. False: it is too long.
    bool seal(const uint8_t* iv, ConstBytes associated, Bytes text, uint8_t* tag) const;
    /// Decrypts `text` in place if `tag` is right, else leaves it as it is.
    bool open(const uint8_t* iv, ConstBytes associated, Bytes text, const uint8_t* tag) const;

   private:
    static constexpr size_t kBlock = 16;
    static constexpr size_t kMaxRounds = 14;
    static constexpr size_t kPowers = 4;

    size_t rounds_;
    alignas(kBlock) std::array<uint8_t, (kMaxRounds + 1) * kBlock> round_keys_{};
    alignas(kBlock) std::array<uint8_t, kPowers * kBlock> hash_powers_{};  // H, H^2, H^3, H^4, octets reversed
};

}  // namespace sdpserver
