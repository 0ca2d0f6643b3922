/* SPDX-License-Identifier: MIT */
/* crypto/: published test vectors, spellings and their strictness, the decoder in pieces. */
#include "test.h"

#include "base/base64.h"
#include "crypto/crypto.h"

static void assert_hex(const uint8_t *bytes, size_t len, const char *expected)
{
    char text[129];
    assert_true(len <= 64);
    hex_encode(bytes, len, text);
    assert_string_equal(text, expected);
}

/* FIPS 180-4 */
static void test_sha256_vectors(void **state)
{
    (void)state;
    uint8_t h[SHA256_BYTES];
    crypto_sha256(NULL, 0, h);
    assert_hex(h, sizeof h, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    crypto_sha256("abc", 3, h);
    assert_hex(h, sizeof h, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* RFC 4231: a short key, one longer than a block, and no key at all. */
static void test_hmac_vectors(void **state)
{
    (void)state;
    uint8_t h[SHA256_BYTES], key[131];
    crypto_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, h);
    assert_hex(h, sizeof h, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    crypto_hmac_sha256(key, sizeof key, "Test Using Larger Than Block-Size Key - Hash Key First",
                       54, h);
    assert_hex(h, sizeof h, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    crypto_hmac_sha256(NULL, 0, NULL, 0, h);
    assert_hex(h, sizeof h, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_random_differs(void **state)
{
    (void)state;
    struct errmsg em;
    uint8_t a[64] = {0}, b[64] = {0};
    assert_ok(crypto_random(a, sizeof a, &em));
    assert_ok(crypto_random(b, sizeof b, &em));
    assert_false(crypto_equal(a, b, sizeof a));
    memcpy(b, a, sizeof a);
    assert_true(crypto_equal(a, b, sizeof a));
    b[63] ^= 1;
    assert_false(crypto_equal(a, b, sizeof a));
    assert_true(crypto_equal(a, b, 0));

    /* every byte of a request larger than one chunk is written */
    size_t len = ((size_t)1 << 20) + 64;
    uint8_t *large = calloc(1, len);
    assert_non_null(large);
    assert_ok(crypto_random(large, len, &em));
    unsigned sum = 0;
    for (size_t i = len - 32; i < len; i++)
        sum += large[i];
    assert_true(sum > 0);
    free(large);
}

static void test_hex(void **state)
{
    (void)state;
    uint8_t out[3] = {0};
    assert_true(hex_decode("00ff7a", out, 3));
    assert_memory_equal(out, "\x00\xff\x7a", 3);
    assert_true(hex_decode("", out, 0));
    static const char *const wrong[] = {"",       "00ff7",   "00ff7a0", "00FF7A",
                                        "00ff7g", " 0ff7a ", "0-ff7a",  "00ff7a00"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(hex_decode(wrong[i], out, 3));
}

static void test_uuid(void **state)
{
    (void)state;
    struct errmsg em;
    char a[UUID_CHARS + 1], b[UUID_CHARS + 1];
    assert_ok(uuid_new(a, &em));
    assert_ok(uuid_new(b, &em));
    assert_string_not_equal(a, b);
    assert_true(uuid_valid(a));
    assert_int_equal(a[14], '4');
    assert_non_null(strchr("89ab", a[19]));
    static const char *const wrong[] = {
        "",
        "0",
        "123e4567-e89b-12d3-a456-42661417400",
        "123e4567-e89b-12d3-a456-4266141740000",
        "123E4567-e89b-12d3-a456-426614174000",
        "123e4567ee89b-12d3-a456-426614174000",
        "123e4567-e89b-12d3-a456-42661417400/",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(uuid_valid(wrong[i]));
    assert_false(uuid_valid(NULL));
    assert_true(uuid_valid("123e4567-e89b-12d3-a456-426614174000"));
}

/* RFC 4648, section 10 */
static const char *const vectors[][2] = {
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
};

static enum err decode_all(const char *text, size_t len, struct buf *out, struct errmsg *em)
{
    struct base64_decoder d = {0};
    size_t n = 0;
    enum err rc = buf_reserve(out, len / 4 * 3 + 3, em);
    if (!rc)
        rc = base64_decode(&d, text, len, out->ptr, &n, em);
    if (!rc)
        rc = base64_decode_end(&d, em);
    out->len = n;
    return rc;
}

static void assert_decodes(const char *text, const char *expected)
{
    struct errmsg em;
    struct buf b = {0};
    assert_ok(decode_all(text, strlen(text), &b, &em));
    assert_int_equal(b.len, strlen(expected));
    assert_memory_equal(b.ptr, expected, b.len);
    buf_deinit(&b);
}

static void test_base64_vectors(void **state)
{
    (void)state;
    struct errmsg em;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct buf b = {0};
        assert_ok(base64_encode(vectors[i][0], strlen(vectors[i][0]), &b, &em));
        assert_string_equal((char *)b.ptr, vectors[i][1]);
        assert_int_equal(b.len, strlen(vectors[i][1]));
        buf_deinit(&b);
        assert_decodes(vectors[i][1], vectors[i][0]);
    }
}

static void test_base64_spellings(void **state)
{
    (void)state;
    assert_decodes("Zg", "f");
    assert_decodes("Zm8", "fo");
    assert_decodes(" Z\ng\t=\r\n= \n", "f");
    assert_decodes("+/+/", "\xfb\xff\xbf");
    assert_decodes("-_-_", "\xfb\xff\xbf");
    assert_decodes("\r\n", "");
}

static void assert_refused(const char *text, size_t len, const char *needle)
{
    struct errmsg em;
    struct buf b = {0};
    assert_fails(decode_all(text, len, &b, &em), ERR_FORMAT, needle);
    buf_deinit(&b);
}

static void test_base64_refuses(void **state)
{
    (void)state;
    assert_refused("Zm9v!", 5, "'!'");
    assert_refused("Zm9v\0Zm9v", 9, "0x00");
    assert_refused("Zm\x80v", 4, "outside of ASCII");
    assert_refused("Z", 1, "cut inside");
    assert_refused("Zm9vZ", 5, "cut inside");
    assert_refused("Zg=", 3, "cut inside");
    assert_refused("=", 1, "no padding belongs");
    assert_refused("Z===", 4, "no padding belongs");
    assert_refused("Zm9v=", 5, "no padding belongs");
    assert_refused("Zm8==", 5, "no padding belongs");
    assert_refused("Zg===", 5, "no padding belongs");
    assert_refused("Zg==Zg==", 8, "follows the padding");
    assert_refused("Zg=a", 4, "follows the padding");
    assert_refused("Zh==", 4, "missing");
    assert_refused("Zm9", 3, "missing");
}

/* Whatever the pieces, the same bytes; and never more than the bound of the header. */
static void test_base64_in_pieces(void **state)
{
    (void)state;
    struct errmsg em;
    uint8_t bytes[1000], got[2000];
    struct buf text = {0};
    assert_ok(crypto_random(bytes, sizeof bytes, &em));
    assert_ok(base64_encode(bytes, sizeof bytes, &text, &em));
    for (size_t piece = 1; piece < 40; piece++) {
        struct base64_decoder d = {0};
        size_t n = 0;
        for (size_t i = 0; i < text.len; i += piece) {
            size_t len = text.len - i < piece ? text.len - i : piece, out_len;
            assert_ok(base64_decode(&d, (char *)text.ptr + i, len, got + n, &out_len, &em));
            assert_true(out_len <= len / 4 * 3 + 3);
            n += out_len;
        }
        assert_ok(base64_decode_end(&d, &em));
        assert_int_equal(n, sizeof bytes);
        assert_memory_equal(got, bytes, n);
    }
    buf_deinit(&text);
}

/* Random texts, mostly of the alphabet, in random pieces, into blocks of exactly the promised
 * size: what is accepted must be what the whole text at once gives. */
static void test_base64_random_texts(void **state)
{
    (void)state;
    static const char some[] = "AQgw+/-_09zZ==  \nx";
    struct errmsg em;
    uint32_t r = 12345;
    for (int round = 0; round < 20000; round++) {
        char text[24];
        size_t len = (r = r * 1664525u + 1013904223u) >> 8 & 15, n = 0;
        for (size_t i = 0; i < len; i++)
            text[i] = some[((r = r * 1664525u + 1013904223u) >> 16) % (sizeof some - 1)];
        struct buf whole = {0};
        enum err expected = decode_all(text, len, &whole, &em), rc = ERR_OK;
        struct base64_decoder d = {0};
        uint8_t got[64];
        for (size_t i = 0; i < len && !rc;) {
            size_t piece = 1 + ((r = r * 1664525u + 1013904223u) >> 16) % 5, out_len;
            piece = piece < len - i ? piece : len - i;
            uint8_t *exact = malloc(piece / 4 * 3 + 3);
            assert_non_null(exact);
            rc = base64_decode(&d, text + i, piece, exact, &out_len, &em);
            memcpy(got + n, exact, out_len);
            free(exact);
            n += out_len;
            i += piece;
        }
        if (!rc)
            rc = base64_decode_end(&d, &em);
        assert_int_equal(rc, expected);
        assert_int_equal(n, whole.len);
        assert_memory_equal(got, whole.ptr, n);
        buf_deinit(&whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_vectors),
        cmocka_unit_test(test_hmac_vectors),
        cmocka_unit_test(test_random_differs),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_uuid),
        cmocka_unit_test(test_base64_vectors),
        cmocka_unit_test(test_base64_spellings),
        cmocka_unit_test(test_base64_refuses),
        cmocka_unit_test(test_base64_in_pieces),
        cmocka_unit_test(test_base64_random_texts),
    };
    return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}
