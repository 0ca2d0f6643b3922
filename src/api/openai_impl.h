/* SPDX-License-Identifier: MIT */
/* What the files of OpenAI's dialect share. */
#ifndef EASEL_API_OPENAI_IMPL_H
#define EASEL_API_OPENAI_IMPL_H

#include "api/api_impl.h"

#define OPENAI_PARTIALS_MAX 3

/* request->own while pictures are asked for: how they are to be answered, and how far that is. */
struct openai {
    bool edit; /* events are called image_edit.… */
    bool stream;
    bool urls;           /* response_format url */
    size_t n_pictures;   /* that the form names, also beyond the bound */
    unsigned n_partials; /* wanted for each picture */
    bool begun;          /* the stream */
    double sent_s;       /* when something was last sent on it */
    struct {
        unsigned n_partials;
        bool told; /* completed was sent */
    } pictures[API_TASKS_MAX];
};

/* ---- request in (openai_read.c) ---- */
enum err openai_read_json(struct request *q, struct submission *s, struct errmsg *em);
enum err openai_read_form(struct request *q, struct submission *s, struct errmsg *em);
/* Members as text to the kinds of value that JSON has for them. A new reference. ERR_FORMAT: no
 * form, or a part that is wrong as such. Pictures go into s. */
NODISCARD enum err openai_form(struct request *q, struct submission *s, json_t **root,
                               struct errmsg *em);
void openai_resolve(struct request *q, struct submission *s);

/* ---- reply out (openai_answer.c, openai_stream.c) ---- */
void openai_answer(struct request *q, struct submission *s);
void openai_stream(struct request *q, struct submission *s);

/* Before the first openai_refresh. */
void openai_watch(struct request *q, const struct submission *s);
/* The tasks as they are now. */
NODISCARD enum err openai_refresh(struct request *q, struct submission *s, struct errmsg *em);
/* The first task that failed or whose picture is gone; NULL: none. */
const struct task *openai_failed(const struct submission *s);
/* {"message","type","param","code"}; code and param may be NULL. New reference. */
json_t *openai_error(const char *message, const char *type, const char *param, const char *code);
json_t *openai_task_error(const struct task *t);
/* "size":"1024x768","quality":"high","background":"opaque","output_format":"png": appended. */
NODISCARD enum err openai_write_kind(struct buf *out, const struct gen_request *r,
                                     const char *format, struct errmsg *em);
/* "usage":{…} of n pictures, appended. */
NODISCARD enum err openai_write_usage(struct buf *out, const struct gen_request *r, size_t n,
                                      struct errmsg *em);
/* "b64_json":"…" of a completed task, appended. ERR_NOTFOUND: the picture is gone. */
NODISCARD enum err openai_write_picture(struct buf *out, struct api *a, const struct task *t,
                                        struct errmsg *em);

#endif
