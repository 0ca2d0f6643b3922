/* SPDX-License-Identifier: MIT */
/* The form of an edit: its pictures stay where they lie in the body, its texts become the JSON
 * that they would be in the other request. A mask is refused, because the picture without it
 * would be another one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/multipart.h"
#include "api/openai_impl.h"

#define PICTURES_MAX 4u
#define TEXT_BYTES_MAX 1024u /* but for the prompt */

/* "image", "image[]", "image[0]". */
static bool is_picture_name(const char *name)
{
    return strncmp(name, "image", 5) == 0 && (name[5] == '\0' || name[5] == '[');
}

static void name_picture(size_t index, char *field, size_t size)
{
    if (index == 0)
        snprintf(field, size, "image");
    else
        snprintf(field, size, "image[%zu]", index);
}

static void add_picture(struct request *q, struct submission *s, const struct multipart_part *part,
                        unsigned rank)
{
    struct openai *o = q->own;
    char field[API_FIELD_CHARS];
    name_picture(o->n_pictures++, field, sizeof field);
    if (o->n_pictures > PICTURES_MAX) {
        faults_add(&q->faults, rank, field, "is one too many: at most %u pictures are taken",
                   PICTURES_MAX);
        return;
    }
    struct picture_source *p = &s->pictures[s->n_pictures++];
    *p = (struct picture_source){
        .kind = PICTURE_BYTES, .rank = rank, .ptr = part->ptr, .len = part->len};
    memcpy(p->field, field, sizeof p->field);
}

/* As body.c reads JSON, numbers as reals; a text that is no number stays one, and is found at fault
 * as a field. */
static json_t *value_of(const char *name, const char *text, size_t len)
{
    static const char *const numbers[] = {"n", "output_compression", "partial_images", "seed"};
    static const char *const booleans[] = {"stream", "prompt_upsampling"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(name, numbers[i]) == 0 && len <= 10 && strspn(text, "0123456789") == len)
            return json_real(strtod(text, NULL));
    for (size_t i = 0; i < sizeof booleans / sizeof booleans[0]; i++)
        if (strcmp(name, booleans[i]) == 0 &&
            (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
            return json_boolean(text[0] == 't');
    return json_stringn(text, len);
}

/* An empty text is an absent one: that is how clients spell null. */
static enum err add_text(struct request *q, json_t *root, const struct multipart_part *part,
                         unsigned rank, struct errmsg *em)
{
    size_t max = strcmp(part->name, "prompt") == 0 ? LIMIT_PROMPT_BYTES_MAX : TEXT_BYTES_MAX;
    if (part->len == 0)
        return ERR_OK;
    if (part->len > max || memchr(part->ptr, '\0', part->len) ||
        json_object_get(root, part->name)) {
        faults_add(&q->faults, rank, part->name,
                   "must come once, without NUL, and be at most %zu bytes long", max);
        return ERR_OK;
    }
    char *text = strndup(part->ptr, part->len);
    if (!text)
        return err_nomem(em, part->len + 1);
    json_t *value = value_of(part->name, text, part->len);
    free(text);
    if (!value)
        faults_add(&q->faults, rank, part->name, "must be valid UTF-8");
    else if (json_object_set_new(root, part->name, value))
        faults_add(&q->faults, rank, "form", "has a field whose name is not valid UTF-8");
    return ERR_OK;
}

static enum err add_part(struct request *q, struct submission *s, json_t *root,
                         const struct multipart_part *part, unsigned rank, struct errmsg *em)
{
    if (is_picture_name(part->name)) {
        add_picture(q, s, part, rank);
    } else if (strcmp(part->name, "mask") == 0 || strcmp(part->name, "markup") == 0) {
        faults_add(&q->faults, rank, part->name,
                   "is not supported: say in the prompt what is to change");
    } else if (!part->has_filename) {
        return add_text(q, root, part, rank, em);
    }
    return ERR_OK;
}

static enum err read_parts(struct request *q, struct submission *s, json_t *root, struct errmsg *em)
{
    struct http_body body = http_request_body(q->http);
    struct multipart form;
    struct multipart_part part;
    enum err rc =
        multipart_init(&form, http_header(q->http, "Content-Type"), body.ptr, body.len, em);
    for (unsigned rank = 1; !rc; rank++) {
        rc = multipart_next(&form, &part, em);
        if (!rc)
            rc = add_part(q, s, root, &part, rank, em);
    }
    return rc == ERR_EMPTY ? ERR_OK : rc == ERR_UNSUPPORTED ? ERR_FORMAT : rc;
}

enum err openai_form(struct request *q, struct submission *s, json_t **root, struct errmsg *em)
{
    json_t *o = json_object();
    enum err rc = o ? read_parts(q, s, o, em) : err_nomem(em, 1);
    if (rc) {
        json_decref(o);
        return rc;
    }
    if (s->n_pictures == 0)
        faults_add(&q->faults, 0, "image", "is required");
    *root = o;
    return ERR_OK;
}
