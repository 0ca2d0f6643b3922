/* SPDX-License-Identifier: MIT */
/* Keys by the hash of their text, so that a request costs no query to know who asks.
 *
 * A table of slots, chosen by the hash (which nobody can steer): a newcomer replaces who was
 * there. It is emptied when keys were changed: by this process at once, by another within
 * CHECK_MS. The number "key_changes" in the database tells; it is looked at only when anything
 * at all was committed. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/store_impl.h"

#define SLOTS 1024u
#define CHECK_MS 20
#define USED_EVERY_MS 60000 /* how exact last_used_ms is */

struct slot {
    uint8_t hash[SHA256_BYTES];
    struct api_key key; /* id 0: empty */
    int64_t used_ms;    /* as last written to the database */
};

struct key_cache {
    pthread_mutex_t mutex;
    double checked_s;
    int64_t version, key_changes;
    uint64_t generation; /* counts the times that it was emptied */
    struct slot slots[SLOTS];
};

enum err key_cache_new(struct key_cache **out, struct errmsg *em)
{
    struct key_cache *c = calloc(1, sizeof *c);
    if (!c)
        return err_nomem(em, sizeof *c);
    pthread_mutex_init(&c->mutex, NULL);
    c->version = c->key_changes = -1;
    *out = c;
    return ERR_OK;
}

static void empty(struct key_cache *c)
{
    for (size_t i = 0; i < SLOTS; i++) {
        api_key_deinit(&c->slots[i].key);
        c->slots[i] = (struct slot){.hash = {0}};
    }
    c->generation++;
}

void key_cache_free(struct key_cache *c)
{
    if (!c)
        return;
    empty(c);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

void key_cache_clear(struct key_cache *c)
{
    pthread_mutex_lock(&c->mutex);
    empty(c);
    pthread_mutex_unlock(&c->mutex);
}

/* Has another process changed keys? With the mutex held. */
static enum err check(struct store *st, struct key_cache *c, struct errmsg *em)
{
    double now_s = clock_now_s();
    if ((now_s - c->checked_s) * 1e3 < CHECK_MS)
        return ERR_OK;
    int64_t version = store_version(st), changes = 0;
    if (version != c->version) {
        struct db *db;
        enum err rc = reader_take(st, &db, em);
        if (rc)
            return rc;
        rc = db_number(db, "SELECT value FROM totals WHERE name = 'key_changes'", SQL_NO_ARGS,
                       &changes, em);
        rc = reader_give(st, db, rc == ERR_EMPTY ? ERR_OK : rc);
        if (rc)
            return rc;
        if (changes != c->key_changes)
            empty(c);
        c->key_changes = changes;
        c->version = version;
    }
    c->checked_s = now_s;
    return ERR_OK;
}

struct use {
    int64_t id, used_ms;
};

static enum err write_use(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct use *u = arg;
    (void)st;
    return db_run(db, "UPDATE api_keys SET last_used_ms = ?2 WHERE id = ?1 AND last_used_ms < ?2",
                  SQL_ARGS(sql_int(u->id), sql_int(u->used_ms)), em);
}

static void note_use(struct store *st, struct slot *s)
{
    int64_t now_ms = store_now_ms(st);
    if (now_ms - s->used_ms < USED_EVERY_MS)
        return;
    s->used_ms = now_ms;
    struct use *u = malloc(sizeof *u);
    if (!u)
        return;
    *u = (struct use){s->key.id, now_ms};
    store_write_later_take(st, write_use, u);
}

/* ERR_EMPTY: not here; *generation is what a later insert must show. */
static enum err look_up(struct store *st, const uint8_t hash[SHA256_BYTES], struct api_key *out,
                        uint64_t *generation, struct errmsg *em)
{
    struct key_cache *c = st->key_cache;
    struct slot *s = &c->slots[(hash[0] | hash[1] << 8) % SLOTS];
    pthread_mutex_lock(&c->mutex);
    enum err rc = check(st, c, em);
    *generation = c->generation;
    if (!rc && (!s->key.id || !crypto_equal(s->hash, hash, SHA256_BYTES)))
        rc = ERR_EMPTY;
    if (!rc)
        rc = key_copy(&s->key, out, em);
    if (!rc)
        note_use(st, s);
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

/* Unless keys changed since the look-up: then what was read may be old. Takes key. */
static void insert_take(struct store *st, const uint8_t hash[SHA256_BYTES], struct api_key *key,
                        uint64_t generation)
{
    struct key_cache *c = st->key_cache;
    struct slot *s = &c->slots[(hash[0] | hash[1] << 8) % SLOTS];
    pthread_mutex_lock(&c->mutex);
    if (generation == c->generation) {
        api_key_deinit(&s->key);
        memcpy(s->hash, hash, SHA256_BYTES);
        s->key = *key;
        s->used_ms = key->last_used_ms;
        note_use(st, s);
        *key = (struct api_key){0};
    }
    pthread_mutex_unlock(&c->mutex);
    api_key_deinit(key);
}

enum err store_key_find(struct store *st, const char *text, struct api_key *out, struct errmsg *em)
{
    uint8_t hash[SHA256_BYTES];
    struct api_key key = {0}, copy = {0};
    uint64_t generation;
    crypto_sha256(text, strlen(text), hash);
    enum err rc = look_up(st, hash, &key, &generation, em);
    if (rc == ERR_EMPTY) {
        struct db *db;
        rc = reader_take(st, &db, em);
        if (!rc)
            rc = reader_give(st, db, key_read(db, hash, &key, em));
        if (!rc && !key_copy(&key, &copy, NULL))
            insert_take(st, hash, &copy, generation);
    }
    if (!rc)
        *out = key;
    return rc;
}
