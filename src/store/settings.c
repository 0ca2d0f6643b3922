/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "store/store_impl.h"

static enum err setting_read(struct db *db, const char *name, char **value, struct errmsg *em)
{
    sqlite3_stmt *q;
    enum err rc = db_first(db, "SELECT value FROM settings WHERE name = ?1",
                           SQL_ARGS(sql_text(name)), &q, em);
    if (rc == ERR_EMPTY)
        return err_set(em, ERR_NOTFOUND, "there is no setting %.80s", name);
    if (rc)
        return rc;
    rc = db_column_text(q, 0, value, em);
    db_done(q);
    return rc;
}

enum err store_setting_get(struct store *st, const char *name, char **value, struct errmsg *em)
{
    struct db *db;
    char *found = NULL;
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = reader_give(st, db, setting_read(db, name, &found, em));
    if (!rc)
        *value = found;
    return rc;
}

struct setting {
    const char *name, *initial;
    char *value;
};

static enum err setting_init(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct setting *s = arg;
    (void)st;
    enum err rc = db_run(db, "INSERT OR IGNORE INTO settings(name, value) VALUES (?1, ?2)",
                         SQL_ARGS(sql_text(s->name), sql_text(s->initial)), em);
    return rc ? rc : setting_read(db, s->name, &s->value, em);
}

enum err store_setting_init(struct store *st, const char *name, const char *initial, char **value,
                            struct errmsg *em)
{
    struct setting s = {.name = name, .initial = initial};
    enum err rc = store_write(st, setting_init, &s, em);
    if (rc)
        free(s.value);
    else
        *value = s.value;
    return rc;
}
