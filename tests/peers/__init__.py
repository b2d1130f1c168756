"""Real peers for the tests: Asterisk, the server itself, browsers, and the ears that judge what they hear."""
