/* SPDX-License-Identifier: MIT */
/* What the files of api/ share: the request in hand, the table of routes, the dialects, and
 * the one way from a dialect's body to a stored task.
 *
 * To add a dialect: write its file with a `struct dialect` and a `struct route_list`, and name
 * both in the two tables at the top of routes.c. Nothing else knows of dialects.
 *
 * The life of a request, in these terms:
 *   head     the route is found, the key checked, the rate charged, the media type and length
 *            looked at: what fails here is answered before any of the body is read.
 *   handle   the route's function; called again each time the request was parked and woken. It
 *            ends with exactly one reply_… or parks (submit, watch_park).
 *   end      everything hanging on the request is freed. */
#ifndef EASEL_API_API_IMPL_H
#define EASEL_API_API_IMPL_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "api/api.h"
#include "base/limits.h"

#define API_BODY_BYTES_MAX (128u << 20)    /* four pictures of 20 MB in base64, and the rest */
#define API_BODY_VALUES_MAX 1000u          /* members and elements of a body's JSON */
#define API_BODY_JSON_BYTES_MAX (1u << 20) /* of a body without its pictures */
#define API_BODY_INLINE_BYTES (64u << 10)  /* longer ones are read on a checker thread */
#define API_PATH_ARGS_MAX 2u
#define API_PATH_ARG_CHARS 80u
#define API_FAULTS_MAX 32u
#define API_FIELD_CHARS 48u
#define API_TASKS_MAX 10u /* made by one request */
#define API_PROMPT_CHARS_MAX 32000u
#define API_URL_BYTES_MAX 2048u
#define API_CHECKERS 2u         /* threads that read long bodies and decode pictures */
#define API_CHECK_QUEUE_MAX 64u /* requests that wait for them */
#define API_STORERS 48u         /* threads that wait for the disk, together */
#define API_STORE_QUEUE_MAX 4096u
#define API_WATCH_MS 1000u /* a task is looked at again at least so often */
#define API_WATCH_BUCKETS 4096u
#define API_EVENTS_COMMENT_MS 15000
#define MEGAPIXEL_PIXELS 1048576.0 /* 1024 x 1024, for prices */

struct request;
struct submission;

/* ---- failures: what can be answered instead of the thing asked for ---- */
/* Each dialect says in one table which status that is; handlers name the kind alone. */
enum failure {
    FAIL_PARAMS, /* request->faults tells what is wrong with which field */
    FAIL_BODY,   /* no JSON object, no body, not UTF-8 … */
    FAIL_NO_KEY,
    FAIL_BAD_KEY,
    FAIL_CREDITS,
    FAIL_NO_ROUTE, /* no such path */
    FAIL_NO_TASK,  /* no such task, file or page of a list */
    FAIL_METHOD,
    FAIL_CONFLICT, /* an Idempotency-Key with another body */
    FAIL_TOO_LARGE,
    FAIL_MEDIA_TYPE,
    FAIL_RATE,
    FAIL_BUSY, /* a queue is full, the store is locked, the server stops */
    FAIL_FULL, /* the disk takes no more */
    FAIL_INTERNAL,
    FAIL_DENIED,    /* a URL's signature is wrong */
    FAIL_GONE,      /* a URL has expired */
    FAIL_NOT_READY, /* /readyz */
    FAIL_N
};

/* Something wrong with a field. */
struct fault {
    unsigned rank; /* the order of the fields, which is not the order of finding */
    char field[API_FIELD_CHARS];
    char reason[256];
};
struct faults {
    struct fault *items; /* owned */
    size_t n;            /* what comes after API_FAULTS_MAX is left out */
};
void faults_add(struct faults *f, unsigned rank, const char *field, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* ---- dialects ---- */
struct dialect {
    enum task_dialect id;
    /* Headers that may hold the key, NULL at the end; in "authorization" it follows "Bearer ". */
    const char *const *key_headers;
    int status[FAIL_N]; /* 0: as the common table says (routes.c) */
    /* The body of a failure; q->faults is sorted. A new reference, NULL without memory. */
    json_t *(*failure)(const struct request *q, enum failure kind, const char *message);
    /* The body of a webhook that tells of `state`: it must be the same at every try, whatever
     * the task has become since. base: "https://host". A new reference, NULL without memory. */
    json_t *(*webhook)(struct api *a, const struct task *t, enum task_state state,
                       const char *base);
};
extern const struct dialect dialect_magnific;
extern const struct dialect dialect_service; /* files, events, usage …: any key header */
extern const struct dialect dialect_bfl;     /* bfl.c */
extern const struct dialect dialect_openai;  /* openai.c */
const struct dialect *dialect_of(enum task_dialect id);

/* ---- routes ---- */
enum route_flags {
    ROUTE_KEY = 1u << 0,       /* needs a key; request->key is set */
    ROUTE_SUBMITS = 1u << 1,   /* makes tasks: the key's rate is charged */
    ROUTE_JSON = 1u << 2,      /* takes a JSON body (or none, which the handler refuses) */
    ROUTE_MULTIPART = 1u << 3, /* takes multipart/form-data (may be set besides ROUTE_JSON) */
    ROUTE_PAGE = 1u << 4,      /* for people and machines of this origin: no CORS */
};
struct route {
    const char *method;  /* "GET" answers HEAD, too */
    const char *pattern; /* "/v1/things/{id}": a segment in braces takes any one segment */
    const struct dialect *dialect; /* whose failures it answers with */
    unsigned flags;
    void (*handle)(struct request *q);
    const char *arg; /* for the handler: a model's name, … */
};
struct route_list {
    const struct route *items;
    size_t n;
};
/* The first list and item that match win: patterns should not overlap. */
extern const struct route_list magnific_routes, service_routes;
extern const struct route_list bfl_routes;     /* bfl.c */
extern const struct route_list openai_routes;  /* openai.c */
extern const struct route_list openapi_routes; /* openapi.c: GET /openapi.json */
size_t routes_count(void);
const struct route *routes_at(size_t index);
/* The route for a method and a path, its segments in braces copied to args. NULL: none;
 * *allow then lists the methods that the path has ("GET, HEAD, POST"), empty for none. */
const struct route *routes_find(const char *method, const char *path,
                                char args[API_PATH_ARGS_MAX][API_PATH_ARG_CHARS], size_t *index,
                                char *allow, size_t allow_size);

/* ---- the request ---- */
/* In a bucket of api->watching. The task's id is kept as a hash: one that is like another's costs
 * no more than a look in vain. */
struct watch {
    uint64_t hash;
    struct request *q;
    struct watch *next, **link;
};

struct request {
    struct api *api;
    struct http_request *http;
    const struct route *route;     /* NULL: none found */
    const struct dialect *dialect; /* never NULL */
    size_t route_index;            /* in the tables; routes_count(): none */
    bool is_page;                  /* ROUTE_PAGE, or a path without a route outside of /v1/ */
    char args[API_PATH_ARGS_MAX][API_PATH_ARG_CHARS]; /* what stood for {…}, in order */
    struct api_key key; /* with ROUTE_KEY; its credits may be old (cached) */
    bool has_key;
    struct faults faults;
    struct submission *submission; /* with submit() */
    /* The handler's own, freed by own_free at the end. */
    void *own;
    void (*own_free)(void *own);
    struct watch watches[API_TASKS_MAX];
    size_t n_watches;
};

/* ---- replies ---- */
/* 200 and JSON; takes the reference; NULL answers FAIL_INTERNAL (out of memory). */
void reply_ok(struct request *q, json_t *take);
/* The dialect's failure. fmt NULL: the kind's usual sentence. Sets Retry-After for FAIL_BUSY and
 * FAIL_FULL; logs FAIL_FULL (now and then) and FAIL_INTERNAL, whose messages the client does not
 * get to see. */
void reply_failure(struct request *q, enum failure kind, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* What the store and its neighbours return, as a failure. */
void reply_err(struct request *q, enum err rc, const struct errmsg *em);
/* A kind's status in a dialect, and its usual sentence; for answers that are not sent by
 * reply_failure (in a stream, …). */
int failure_status(const struct dialect *d, enum failure kind);
const char *failure_message(enum failure kind);
/* The kind that an error of the store and its neighbours is. */
enum failure failure_of_err(enum err rc);
/* Is its message for the log alone? */
bool failure_is_inner(enum failure kind);
/* A JSON text as all answers are written: compact, members in order, numbers short. Owned
 * (free), NULL without memory. */
char *json_text(const json_t *value);
/* Unix milliseconds as "2026-01-31T12:00:00.123Z"; JSON null for 0. New reference. */
json_t *json_time(int64_t unix_ms);
/* Microcredits as credits. New reference. */
json_t *json_credits(int64_t microcredits);

/* ---- bodies ---- */
/* Where the string of a picture field lies in the body: the text between the quotes, with its
 * JSON escapes. */
struct body_picture {
    const char *field; /* of picture_fields */
    const char *ptr;
    size_t len;
};
struct body {
    json_t *root; /* the object; picture strings are "" in it */
    struct body_picture pictures[LIMIT_REFERENCES_MAX];
    size_t n_pictures; /* in the order of picture_fields */
};
/* Scan once, hand all but the pictures to jansson. picture_fields: NULL at the end, at most
 * LIMIT_REFERENCES_MAX. ERR_FORMAT: the message is for the client. */
NODISCARD enum err body_parse(const char *text, size_t len, const char *const *picture_fields,
                              struct body *out, struct errmsg *em);
void body_deinit(struct body *b);
const struct body_picture *body_picture(const struct body *b, const char *field); /* or NULL */

/* ---- fields: each reads one member and adds a fault if it is wrong ---- */
/* Call them in the order of the dialect's documentation: that is the order of the faults. */
struct fields {
    const json_t *root;
    struct faults *faults;
    unsigned rank;      /* counts up with each call */
    bool null_is_wrong; /* set it before fields that may not be null; else null is absence */
};
enum field_flags {
    FIELD_REQUIRED = 1u << 0,
    FIELD_NOT_BLANK = 1u << 1, /* something besides white space */
};
/* NULL: absent, null, or wrong. chars_max counts code points. NUL never occurs. */
const char *field_string(struct fields *f, const char *name, unsigned flags, size_t chars_max);
/* A copy that outlives the body; NULL stays NULL. */
NODISCARD enum err field_keep(char **out, const char *text, struct errmsg *em);
/* true: *out is set (to fallback where absent or null). 1024.0 is an integer, true is not. */
bool field_integer(struct fields *f, const char *name, int64_t min, int64_t max, int64_t fallback,
                   int64_t *out);
/* As field_integer; 0 is good besides the range, and what absence gives. */
bool field_integer_or_zero(struct fields *f, const char *name, int64_t min, int64_t max,
                           int64_t *out);
bool field_boolean(struct fields *f, const char *name, bool fallback, bool *out);
/* One of the names (NULL at the end); its index, -1 where absent or null, -2 where wrong. */
int field_choice(struct fields *f, const char *name, const char *const *choices);
/* A fault of the field that the next call would read. */
void field_fault(struct fields *f, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* A parameter of the query, as field_integer; absent leaves *out. */
bool query_integer(struct request *q, const char *name, int64_t min, int64_t max, int64_t *out);

/* ---- submitting ---- */
struct picture_source {
    char field[API_FIELD_CHARS]; /* for faults */
    unsigned rank;
    enum {
        PICTURE_JSON_BASE64, /* in a JSON string with its escapes; a data: prefix is skipped */
        PICTURE_BYTES,       /* the file itself */
        PICTURE_URL,         /* a C string; once it was fetched it is PICTURE_BYTES, or: */
        PICTURE_FAULTY,      /* its fault was added already */
    } kind;
    const char *ptr; /* lies in the request's body, or is kept by request->own */
    size_t len;
    /* once checked: */
    size_t width_px, height_px;
};
struct submission {
    /* The dialect fills it, but for references. width_px, height_px 0: as resolve() sets them.
     * seed -1: random; task i of several gets seed + i (mod 2^32). format NULL: "png". */
    struct gen_request request;
    struct picture_source pictures[LIMIT_REFERENCES_MAX];
    size_t n_pictures;
    unsigned webhook_rank;            /* of the field webhook_url */
    size_t n_tasks;                   /* wanted; 0: 1 */
    struct task tasks[API_TASKS_MAX]; /* stored: n_stored of them */
    size_t n_stored;
    bool existing; /* an earlier request had this Idempotency-Key */
    void *impl;    /* submit.c's */
};
struct submit_ops {
    /* The body → s. Adds every fault to q->faults and returns ERR_OK; ERR_FORMAT: the body as
     * a whole is unreadable (em is for the client). May run on a checker thread, so it must not
     * reply. */
    enum err (*read)(struct request *q, struct submission *s, struct errmsg *em);
    /* May be NULL. The pictures are checked, their sizes known, nothing is stored: settle the
     * size of the result. May run on a checker thread. */
    void (*resolve)(struct request *q, struct submission *s);
    /* The tasks are stored: reply or park. May be called again after a park. */
    void (*answer)(struct request *q, struct submission *s);
};
/* The handler of a route that makes tasks consists of this call. Reads the body, fetches pictures
 * and looks up webhook_url's host, checks pictures on a checker thread (format, size, whether they
 * decode), charges and stores the tasks, removes what it stored if anything fails, and answers
 * failures itself. */
void submit(struct request *q, const struct submit_ops *ops);
/* The picture of a body's field into s, if there is one: a fault if it is no string. Counts one
 * rank. */
void submit_picture(struct submission *s, struct fields *f, const struct body *b,
                    const char *field);
/* Faults that all dialects share, after the fields were read: more references than the model
 * takes (each that is too many), an enhancement that it cannot make. */
void submit_check_model(struct request *q, struct submission *s, const char *enhance_field,
                        unsigned enhance_rank);
/* What a task costs. */
int64_t cost_microcredits(const struct api *a, size_t width_px, size_t height_px,
                          double references_mp);

/* ---- waiting for tasks ---- */
/* From now on the request is woken when this task changes; of API_TASKS_MAX tasks at most. Call it
 * before reading what you wait for; again is harmless. */
void watch_begin(struct request *q, const char *task_id);
/* Park until a watched task changes, at most API_WATCH_MS: what is no change of the task itself,
 * as its position in the queue, is seen so late. */
void watch_park(struct request *q);

/* ---- results ---- */
/* "https://host" without a slash: the public URL, or by the Host header of the request (NULL
 * request: by the listen address). Owned; NULL without memory. */
char *base_url(struct api *a, struct http_request *r);
/* The signed URL of a completed task's result, the same whenever it is asked. Owned; NULL: there
 * is none (not completed, swept), or no memory. */
char *result_url(const struct api *a, const struct task *t, const char *base);
/* A whole blob, appended. ERR_NOTFOUND: swept. */
NODISCARD enum err blob_read(struct api *a, const char *name, struct buf *out, struct errmsg *em);

/* ---- the api ---- */
struct api {
    struct api_options o;    /* strings are copies */
    char *_Atomic local_url; /* NULL before api_set_local_url */
    struct rates *rates;
    struct checkers *checkers, *storers;
    struct metrics *metrics;
    pthread_mutex_t watch_lock; /* for the two below */
    struct watch *watching[API_WATCH_BUCKETS];
    size_t n_watches;
    int64_t changes_seen;       /* api_store_changed's own */
    pthread_mutex_t ready_lock; /* for the two below */
    double tried_s;
    const char *unready; /* what was wrong then; NULL: nothing */
    _Atomic double full_told_s;
};
int64_t unix_ms(void);
void api_log(struct api *a, const char *level, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
