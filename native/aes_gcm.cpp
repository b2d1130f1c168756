#include "aes_gcm.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#if defined(__x86_64__)

#include <immintrin.h>

#define WITH_AES __attribute__((target("aes,pclmul,ssse3,sse4.1")))

namespace sdpserver {
namespace {

constexpr size_t kBlock = 16;
constexpr size_t kPowers = 4;

WITH_AES inline __m128i load(const uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
WITH_AES inline void store(uint8_t* to, __m128i value) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), value); }

/// GHASH counts bits from the left; its operands are kept with their octets reversed.
WITH_AES inline __m128i reversed(__m128i block) {
    return _mm_shuffle_epi8(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

WITH_AES inline __m128i encrypted(const uint8_t* round_keys, size_t rounds, __m128i block) {
    block = _mm_xor_si128(block, load(round_keys));
    for (size_t i = 1; i < rounds; ++i) block = _mm_aesenc_si128(block, load(round_keys + i * kBlock));
    return _mm_aesenclast_si128(block, load(round_keys + rounds * kBlock));
}

/// The key stream of `blocks` counters from 1 on, four at a time; up to three more blocks are written.
WITH_AES void key_stream(const uint8_t* round_keys, size_t rounds, const uint8_t* iv, size_t blocks, uint8_t* out) {
    std::array<uint8_t, kBlock> first{};
    std::copy_n(iv, AesGcm::kIv, first.begin());
    const __m128i base = load(first.data());
    for (size_t done = 0; done < blocks; done += 4) {
        __m128i stream[4];
        for (size_t i = 0; i < 4; ++i) {
            const auto counter = static_cast<uint32_t>(done + i + 1);
            stream[i] = _mm_insert_epi32(base, static_cast<int>(__builtin_bswap32(counter)), 3);
            stream[i] = _mm_xor_si128(stream[i], load(round_keys));
        }
        for (size_t round = 1; round < rounds; ++round) {
            const __m128i key = load(round_keys + round * kBlock);
            for (__m128i& block : stream) block = _mm_aesenc_si128(block, key);
        }
        const __m128i last = load(round_keys + rounds * kBlock);
        for (size_t i = 0; i < 4; ++i) store(out + (done + i) * kBlock, _mm_aesenclast_si128(stream[i], last));
    }
}

/// A product of two 128-bit polynomials, not yet reduced.
struct Product {
    __m128i low;
    __m128i middle;
    __m128i high;
};

WITH_AES inline void add_product(Product& sum, __m128i a, __m128i b) {
    sum.low = _mm_xor_si128(sum.low, _mm_clmulepi64_si128(a, b, 0x00));
    sum.high = _mm_xor_si128(sum.high, _mm_clmulepi64_si128(a, b, 0x11));
    sum.middle = _mm_xor_si128(sum.middle, _mm_clmulepi64_si128(a, b, 0x01));
    sum.middle = _mm_xor_si128(sum.middle, _mm_clmulepi64_si128(a, b, 0x10));
}

/// 256 bits one to the left, since reversing the octets leaves the product a bit too far right.
WITH_AES inline void shift_left(__m128i& low, __m128i& high) {
    const __m128i low_carry = _mm_srli_epi64(low, 63);
    const __m128i high_carry = _mm_srli_epi64(high, 63);
    low = _mm_or_si128(_mm_slli_epi64(low, 1), _mm_slli_si128(low_carry, 8));
    high = _mm_or_si128(_mm_slli_epi64(high, 1), _mm_slli_si128(high_carry, 8));
    high = _mm_or_si128(high, _mm_srli_si128(low_carry, 8));
}

/// Modulo x^128 + x^7 + x^2 + x + 1 with bits reversed: the low half is folded into the high one, 64 bits at a time.
WITH_AES inline __m128i reduced(const Product& product) {
    __m128i low = _mm_xor_si128(product.low, _mm_slli_si128(product.middle, 8));
    __m128i high = _mm_xor_si128(product.high, _mm_srli_si128(product.middle, 8));
    shift_left(low, high);
    const __m128i polynomial = _mm_set_epi64x(0, static_cast<long long>(0xc200000000000000u));
    for (int half = 0; half < 2; ++half) {
        const __m128i folded = _mm_clmulepi64_si128(low, polynomial, 0x00);
        low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), folded);
    }
    return _mm_xor_si128(high, low);
}

WITH_AES inline __m128i multiplied(__m128i a, __m128i b) {
    Product product{_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    add_product(product, a, b);
    return reduced(product);
}

/// GHASH of whole blocks, as many at a time as there are powers of H, which is reduced only once.
WITH_AES __m128i hashed(const uint8_t* powers, const uint8_t* data, size_t blocks) {
    __m128i hash = _mm_setzero_si128();
    for (size_t done = 0; done < blocks;) {
        const size_t count = std::min(blocks - done, kPowers);
        Product sum{_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
        for (size_t i = 0; i < count; ++i) {
            const __m128i block = reversed(load(data + (done + i) * kBlock));
            add_product(sum, i == 0 ? _mm_xor_si128(hash, block) : block, load(powers + (count - 1 - i) * kBlock));
        }
        hash = reduced(sum);
        done += count;
    }
    return hash;
}

constexpr size_t padded(size_t octets) { return (octets + kBlock - 1) / kBlock * kBlock; }

WITH_AES void write_tag(const uint8_t* powers, ConstBytes associated, ConstBytes text, const uint8_t* stream,
                        uint8_t* tag) {
    alignas(kBlock) std::array<uint8_t, AesGcm::kMaxText + 4 * kBlock> input;
    uint8_t* at = input.data();
    for (const ConstBytes part : {associated, text}) {
        const size_t length = padded(part.size());
        if (length == 0) continue;
        store(at + length - kBlock, _mm_setzero_si128());
        std::memcpy(at, part.data(), part.size());
        at += length;
    }
    const auto associated_bits = static_cast<long long>(associated.size() * 8);
    const auto text_bits = static_cast<long long>(text.size() * 8);
    store(at, reversed(_mm_set_epi64x(associated_bits, text_bits)));
    at += kBlock;
    const __m128i hash = hashed(powers, input.data(), static_cast<size_t>(at - input.data()) / kBlock);
    store(tag, _mm_xor_si128(reversed(hash), load(stream)));
}

WITH_AES void apply(Bytes text, const uint8_t* stream) {
    size_t i = 0;
    for (; i + kBlock <= text.size(); i += kBlock) {
        store(text.data() + i, _mm_xor_si128(load(text.data() + i), load(stream + i)));
    }
    for (; i < text.size(); ++i) text[i] ^= stream[i];
}

/// SubWord (FIPS 197 section 5.2): what the key generation instruction makes of its third word, without the constant.
WITH_AES inline uint32_t substituted(uint32_t word) {
    const __m128i made = _mm_aeskeygenassist_si128(_mm_set1_epi32(static_cast<int>(word)), 0);
    return static_cast<uint32_t>(_mm_extract_epi32(made, 0));
}

/// FIPS 197 section 5.2, on little-endian words.
WITH_AES void expand(ConstBytes key, size_t rounds, uint8_t* out) {
    const size_t words = key.size() / 4;
    std::memcpy(out, key.data(), key.size());
    uint8_t constant = 1;
    for (size_t i = words; i < 4 * (rounds + 1); ++i) {
        uint32_t word = 0;
        uint32_t before = 0;
        std::memcpy(&word, out + 4 * (i - 1), 4);
        std::memcpy(&before, out + 4 * (i - words), 4);
        if (i % words == 0) {
            word = substituted(word);
            word = (word >> 8 | word << 24) ^ constant;
            constant = static_cast<uint8_t>(constant << 1 ^ (constant & 0x80 ? 0x1b : 0));
        } else if (words > 6 && i % words == 4) {
            word = substituted(word);
        }
        word ^= before;
        std::memcpy(out + 4 * i, &word, 4);
    }
}

WITH_AES void make_powers(const uint8_t* round_keys, size_t rounds, uint8_t* powers, size_t count) {
    const __m128i h = reversed(encrypted(round_keys, rounds, _mm_setzero_si128()));
    store(powers, h);
    for (size_t i = 1; i < count; ++i) store(powers + i * kBlock, multiplied(load(powers + (i - 1) * kBlock), h));
}

constexpr size_t stream_blocks(size_t octets) { return 1 + padded(octets) / kBlock; }  // the first is for the tag

using Stream = std::array<uint8_t, (stream_blocks(AesGcm::kMaxText) + 3) * kBlock>;

}  // namespace

bool AesGcm::available() {
    return __builtin_cpu_supports("aes") != 0 && __builtin_cpu_supports("pclmul") != 0 &&
           __builtin_cpu_supports("sse4.1") != 0 && __builtin_cpu_supports("ssse3") != 0;
}

AesGcm::AesGcm(ConstBytes key) : rounds_(key.size() == 32 ? 14 : 10) {
    if (key.size() != 16 && key.size() != 32) throw std::invalid_argument("an AES key has 16 or 32 octets here");
    expand(key, rounds_, round_keys_.data());
    make_powers(round_keys_.data(), rounds_, hash_powers_.data(), kPowers);
}

bool AesGcm::seal(const uint8_t* iv, ConstBytes associated, Bytes text, uint8_t* tag) const {
    if (associated.size() + text.size() > kMaxText) return false;
    alignas(kBlock) Stream stream;
    key_stream(round_keys_.data(), rounds_, iv, stream_blocks(text.size()), stream.data());
    apply(text, stream.data() + kBlock);
    write_tag(hash_powers_.data(), associated, text, stream.data(), tag);
    return true;
}

bool AesGcm::open(const uint8_t* iv, ConstBytes associated, Bytes text, const uint8_t* tag) const {
    if (associated.size() + text.size() > kMaxText) return false;
    alignas(kBlock) Stream stream;
    key_stream(round_keys_.data(), rounds_, iv, stream_blocks(text.size()), stream.data());
    std::array<uint8_t, kTag> right;
    write_tag(hash_powers_.data(), associated, text, stream.data(), right.data());
    if (CRYPTO_memcmp(right.data(), tag, kTag) != 0) return false;
    apply(text, stream.data() + kBlock);
    return true;
}

#else

namespace sdpserver {

bool AesGcm::available() { return false; }

AesGcm::AesGcm(ConstBytes) : rounds_(0) { throw std::logic_error("AES-GCM of our own is for x86-64 only"); }

bool AesGcm::seal(const uint8_t*, ConstBytes, Bytes, uint8_t*) const { return false; }

bool AesGcm::open(const uint8_t*, ConstBytes, Bytes, const uint8_t*) const { return false; }

#endif

AesGcm::~AesGcm() {
    OPENSSL_cleanse(round_keys_.data(), round_keys_.size());
    OPENSSL_cleanse(hash_powers_.data(), hash_powers_.size());
}

}  // namespace sdpserver
