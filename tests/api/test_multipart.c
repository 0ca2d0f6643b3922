/* SPDX-License-Identifier: MIT */
/* api/multipart: forms as browsers and libraries send them, and forms that nobody should. */
#include "test.h"

#include "api/multipart.h"

#define TYPE "multipart/form-data; boundary=XyZ"

static struct multipart form;
static struct multipart_part part;
static struct errmsg em;

static enum err start(const char *type, const char *body)
{
    return multipart_init(&form, type, body, strlen(body), &em);
}

static void assert_part(const char *name, const char *content)
{
    assert_ok(multipart_next(&form, &part, &em));
    assert_string_equal(part.name, name);
    assert_int_equal(part.len, strlen(content));
    assert_memory_equal(part.ptr, content, part.len);
}

static void assert_end(void)
{
    for (int i = 0; i < 2; i++)
        assert_int_equal(multipart_next(&form, &part, &em), ERR_EMPTY);
}

/* The header of a form's only part must be refused with this message. */
static void assert_header_refused(const char *header, enum err code, const char *needle)
{
    char body[8192];
    snprintf(body, sizeof body, "--XyZ\r\n%s\r\n\r\nv\r\n--XyZ--\r\n", header);
    assert_ok(start(TYPE, body));
    for (int i = 0; i < 2; i++)
        assert_fails(multipart_next(&form, &part, &em), code, needle);
}

static void test_fields_and_files(void **state)
{
    (void)state;
    assert_ok(start(TYPE, "--XyZ\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n"
                          "a red apple\r\n"
                          "--XyZ\r\nContent-Disposition: form-data; name=\"image[]\"; "
                          "filename=\"a.png\"\r\nContent-Type: image/png; x=y\r\n\r\n"
                          "\r\nP\r\n--Xy\r\n\r\n"
                          "--XyZ--\r\n"));
    assert_part("prompt", "a red apple");
    assert_false(part.has_filename);
    assert_string_equal(part.media_type, "");
    assert_part("image[]", "\r\nP\r\n--Xy\r\n");
    assert_true(part.has_filename);
    assert_string_equal(part.filename, "a.png");
    assert_string_equal(part.media_type, "image/png");
    assert_end();
}

static void test_content_is_not_copied(void **state)
{
    (void)state;
    static const char body[] =
        "--XyZ\r\ncontent-disposition:form-data;name=a;filename=\"\"\r\n\r\n\0\xff\0\r\n--XyZ--";
    assert_ok(multipart_init(&form, TYPE, body, sizeof body - 1, &em));
    assert_ok(multipart_next(&form, &part, &em));
    assert_true(part.ptr > body && part.ptr < body + sizeof body);
    assert_int_equal(part.len, 3);
    assert_memory_equal(part.ptr, "\0\xff", 3);
    assert_true(part.has_filename);
    assert_end();
}

static void test_empty_contents(void **state)
{
    (void)state;
    const char *head = "Content-Disposition: form-data; name=a\r\n";
    char body[512];
    /* with its own CRLF, and with the one of the blank line alone */
    snprintf(body, sizeof body, "--XyZ\r\n%s\r\n\r\n--XyZ\r\n%s\r\n--XyZ--", head, head);
    assert_ok(start(TYPE, body));
    assert_part("a", "");
    assert_part("a", "");
    assert_end();
    assert_ok(start(TYPE, "--XyZ--\r\n"));
    assert_end();
}

static void test_preamble_padding_epilogue(void **state)
{
    (void)state;
    assert_ok(start(TYPE, "for old mail readers\r\n--XyZ \t\r\n"
                          "Content-Disposition: form-data; name=a\r\n\r\n1\r\n--XyZ-- \r\nbye\r\n"
                          "--XyZ\r\n"));
    assert_part("a", "1");
    assert_end();
}

static void test_lines_that_only_begin_like_the_delimiter(void **state)
{
    (void)state;
    const char *content = "\r\n--XyZa\r\n--XyZ-\r\n--XyZ--x\r\n--XyZ\n--XyZ\r";
    char body[512];
    snprintf(body, sizeof body,
             "--XyZ\r\nContent-Disposition: form-data; name=a\r\n\r\n%s\r\n--XyZ--", content);
    assert_ok(start(TYPE, body));
    assert_part("a", content);
    assert_end();
}

static void test_boundaries(void **state)
{
    (void)state;
    const char *body = "--=_a:b c\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n"
                       "--=_a:b c--\r\n";
    assert_ok(start("Multipart/Form-Data ; charset=utf-8; BOUNDARY=\"=_a:b c\" ;", body));
    assert_part("a", "1");
    assert_end();
    assert_fails(start(NULL, body), ERR_UNSUPPORTED, "must be multipart/form-data");
    assert_fails(start("application/json", body), ERR_UNSUPPORTED, "must be multipart/form-data");
    assert_fails(start("multipart/form-data", body), ERR_FORMAT, "needs a boundary");
    assert_fails(start("multipart/form-databoundary=a", body), ERR_FORMAT, "needs a boundary");
    assert_fails(start("multipart/form-data; boundary", body), ERR_FORMAT, "needs a boundary");
    assert_fails(start("multipart/form-data; boundary=\"a", body), ERR_FORMAT, "needs a boundary");
    assert_fails(start("multipart/form-data; boundary=\"\"", body), ERR_FORMAT, "1 to 70");
    assert_fails(start("multipart/form-data; boundary=\"a \"", body), ERR_FORMAT, "1 to 70");
    assert_fails(start("multipart/form-data; boundary=\"a\\\"b\"", body), ERR_FORMAT, "1 to 70");
    assert_fails(start("multipart/form-data; boundary=a; boundary=a", body), ERR_FORMAT, "once");
    char type[128] = "multipart/form-data; boundary=";
    memset(type + strlen(type), 'b', MULTIPART_BOUNDARY_MAX);
    assert_ok(start(type, body));
    type[strlen(type)] = 'b';
    assert_fails(start(type, body), ERR_FORMAT, "1 to 70");
}

static void test_quoted_parameters(void **state)
{
    (void)state;
    assert_ok(start(TYPE, "--XyZ\r\nContent-Disposition: form-data; name=\"a\\\"b\\\\;=\"; "
                          "filename=\"C:\\dir\\p.png\"; x=\"y\"\r\n\r\n1\r\n--XyZ--"));
    assert_part("a\"b\\;=", "1");
    assert_string_equal(part.filename, "C:\\dir\\p.png");
    static const char *const orders[] = {"filename=\"plain\"; filename*=UTF-8''%e2%82%ac%20.png",
                                         "filename*=utf-8'en'%e2%82%ac%20.png; filename=plain"};
    for (size_t i = 0; i < 2; i++) {
        char body[256];
        snprintf(body, sizeof body,
                 "--XyZ\r\nContent-Disposition: form-data; name=a; %s\r\n\r\n1\r\n--XyZ--",
                 orders[i]);
        assert_ok(start(TYPE, body));
        assert_part("a", "1");
        assert_string_equal(part.filename, "\xe2\x82\xac .png");
    }
}

static void test_headers_that_are_refused(void **state)
{
    (void)state;
#define DISPOSITION "Content-Disposition: form-data; name=a"
    static const struct {
        const char *header, *needle;
    } wrong[] = {
        {"Content-Type: text/plain", "each part needs"},
        {"Content-Disposition: form-data", "each part needs"},
        {"Content-Disposition: attachment; name=a", "each part needs"},
        {"Content-Disposition: form-data; name=a; name=b", "each part needs"},
        {"Content-Disposition: form-data; name=\"a", "each part needs"},
        {"Content-Disposition: form-data; name=", "each part needs"},
        {"Content-Disposition: form-data name=a", "each part needs"},
        {DISPOSITION "\r\n" DISPOSITION, "each part needs"},
        {DISPOSITION "; filename=x; filename=y", "file name"},
        {DISPOSITION "; filename*=UTF-8''%00", "filename*"},
        {DISPOSITION "; filename*=UTF-8''%4", "filename*"},
        {DISPOSITION "; filename*=latin1''a", "filename*"},
        {DISPOSITION "; filename*=UTF-8'a", "filename*"},
        {DISPOSITION "\r\nContent-Type: a/b\r\nContent-Type: a/b", "Content-Type"},
        {DISPOSITION "\r\n folded", "not \"Name: value\""},
        {DISPOSITION "\r\nno colon", "not \"Name: value\""},
        {DISPOSITION "\r\n: no name", "not \"Name: value\""},
        {DISPOSITION "\nX: bare line feed", "malformed"},
        {"X: \x01\r\n" DISPOSITION, "malformed"},
        {"X: \x7f\r\n" DISPOSITION, "malformed"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_header_refused(wrong[i].header, ERR_FORMAT, wrong[i].needle);
    assert_header_refused(DISPOSITION "\r\nContent-Transfer-Encoding: base64", ERR_UNSUPPORTED,
                          "Content-Transfer-Encoding");
    assert_ok(start(TYPE, "--XyZ\r\nContent-Transfer-Encoding: binary\r\n" DISPOSITION
                          "\r\n\r\n1\r\n--XyZ--"));
    assert_part("a", "1");
}

static void test_bounds(void **state)
{
    (void)state;
    char text[6000];
    int n = snprintf(text, sizeof text, "Content-Disposition: form-data; name=");
    memset(text + n, 'n', MULTIPART_NAME_MAX + 1);
    text[n + (int)MULTIPART_NAME_MAX + 1] = '\0';
    assert_header_refused(text, ERR_FORMAT, "at most 64");
    n = snprintf(text, sizeof text, DISPOSITION "; filename=");
    memset(text + n, 'f', MULTIPART_FILENAME_MAX + 1);
    text[n + (int)MULTIPART_FILENAME_MAX + 1] = '\0';
    assert_header_refused(text, ERR_FORMAT, "file name");
    n = snprintf(text, sizeof text, DISPOSITION "\r\nX: ");
    memset(text + n, 'x', MULTIPART_HEADER_BYTES_MAX);
    text[n + (int)MULTIPART_HEADER_BYTES_MAX] = '\0';
    assert_header_refused(text, ERR_FORMAT, "4096 bytes");
    n = snprintf(text, sizeof text, DISPOSITION);
    for (unsigned i = 0; i < MULTIPART_HEADERS_MAX; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "\r\nX: y");
    assert_header_refused(text, ERR_FORMAT, "16 lines");
}

static void test_too_many_parts(void **state)
{
    (void)state;
    static char body[8192];
    int n = 0;
    for (unsigned i = 0; i <= MULTIPART_PARTS_MAX; i++)
        n += snprintf(body + n, sizeof body - (size_t)n, "--XyZ\r\n" DISPOSITION "\r\n\r\n%u\r\n",
                      i);
    snprintf(body + n, sizeof body - (size_t)n, "--XyZ--");
    assert_ok(start(TYPE, body));
    for (unsigned i = 0; i < MULTIPART_PARTS_MAX; i++)
        assert_ok(multipart_next(&form, &part, &em));
    assert_fails(multipart_next(&form, &part, &em), ERR_FORMAT, "more than 64 parts");
}

/* Cut at every length: a message, never a part that was not sent whole. */
static void test_cut_forms(void **state)
{
    (void)state;
    static const char body[] =
        "--XyZ\r\n" DISPOSITION "\r\n\r\n12345\r\n--XyZ\r\n" DISPOSITION "\r\n\r\n\r\n--XyZ--";
    for (size_t len = 0; len < sizeof body - 1; len++) {
        char *copy = malloc(len + 1); /* exactly so long, for the sanitizer */
        assert_non_null(copy);
        memcpy(copy, body, len);
        assert_ok(multipart_init(&form, TYPE, copy, len, &em));
        enum err rc;
        while (!(rc = multipart_next(&form, &part, &em)))
            assert_true(part.len == 5 || part.len == 0);
        assert_int_equal(rc, ERR_FORMAT);
        free(copy);
    }
    assert_ok(start(TYPE, "\r\n"));
    assert_fails(multipart_next(&form, &part, &em), ERR_FORMAT, "does not begin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_and_files),
        cmocka_unit_test(test_content_is_not_copied),
        cmocka_unit_test(test_empty_contents),
        cmocka_unit_test(test_preamble_padding_epilogue),
        cmocka_unit_test(test_lines_that_only_begin_like_the_delimiter),
        cmocka_unit_test(test_boundaries),
        cmocka_unit_test(test_quoted_parameters),
        cmocka_unit_test(test_headers_that_are_refused),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_too_many_parts),
        cmocka_unit_test(test_cut_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
