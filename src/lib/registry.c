/* SPDX-License-Identifier: MIT */
#include "lib/registry.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "easel.h"

#define PLACES_MAX 32

struct places {
    char *dirs[PLACES_MAX];
    size_t n;
};

static void add_place(struct places *p, const char *dir, const char *below)
{
    char *joined = below ? path_join(dir, below) : strdup(dir);
    char *real = joined ? realpath(joined, NULL) : NULL;
    free(joined);
    if (!real)
        return;
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->dirs[i], real)) {
            free(real);
            return;
        }
    if (p->n == PLACES_MAX || !file_is_dir(real)) {
        free(real);
        return;
    }
    p->dirs[p->n++] = real;
}

/* The folder of the program or shared library that holds this code. */
static char *object_dir(void)
{
    static const char here;
    Dl_info info;
    char path[PATH_MAX] = "";
    /* for a main program dladdr gives argv[0], which need not be a path */
    if (dladdr(&here, &info) && info.dli_fname && strchr(info.dli_fname, '/'))
        snprintf(path, sizeof path, "%s", info.dli_fname);
    char *real = *path ? realpath(path, NULL) : NULL;
    if (!real)
        real = realpath("/proc/self/exe", NULL);
    char *slash = real ? strrchr(real, '/') : NULL;
    if (slash)
        *slash = '\0';
    return real;
}

static void find_places(struct places *p)
{
    const char *env = getenv("EASEL_MODELS");
    while (env && *env) {
        size_t len = strcspn(env, ":");
        char *dir = strndup(env, len);
        if (dir && *dir)
            add_place(p, dir, NULL);
        free(dir);
        env += len + (env[len] == ':');
    }
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data && *data)
        add_place(p, data, "easel/models");
    else if (home && *home)
        add_place(p, home, ".local/share/easel/models");
    char *here = object_dir();
    if (here) {
        add_place(p, here, "../models");
        add_place(p, here, "../share/easel/models");
        add_place(p, here, "../../share/easel/models");
        free(here);
    }
    add_place(p, EASEL_MODELS_DIR, NULL);
}

static void places_deinit(struct places *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->dirs[i]);
}

static char *find_in_places(const struct places *p, const char *name, const char *marker)
{
    for (size_t i = 0; i < p->n; i++) {
        char *dir = path_join(p->dirs[i], name);
        char *file = dir ? path_join(dir, marker) : NULL;
        bool found = file && file_exists(file);
        free(file);
        if (found)
            return dir;
        free(dir);
    }
    return NULL;
}

struct name_list {
    struct buf text;
};

static void append_name(void *ctx, const char *name, const char *path)
{
    (void)path;
    struct name_list *l = ctx;
    /* a message that lacks a name is better than none: memory errors are let pass */
    if (buf_printf(&l->text, NULL, "%s%s", l->text.len ? ", " : "", name))
        return;
}

static enum err not_found(const char *name, const struct places *p, struct errmsg *em)
{
    struct name_list names = {0};
    if (registry_list(append_name, &names, NULL))
        names.text.len = 0;
    enum err rc = err_set(
        em, ERR_NOTFOUND,
        "there is no model \"%s\"; installed: %s. Give a folder in the diffusers layout, or put "
        "one into %s",
        name, names.text.len ? (char *)names.text.ptr : "none",
        p->n ? p->dirs[0] : "a folder that $EASEL_MODELS names");
    buf_deinit(&names.text);
    return rc;
}

static enum err find_path(const char *path, char **out, struct errmsg *em)
{
    if (!file_exists(path))
        return err_set(em, ERR_NOTFOUND, "there is no model folder %s", path);
    *out = strdup(path);
    return *out ? ERR_OK : err_nomem(em, strlen(path));
}

enum err registry_find(const char *name, char **out, struct errmsg *em)
{
    if (!name || !*name)
        name = EMBEDDED_MODEL;
    if (strchr(name, '/'))
        return find_path(name, out, em);
    struct places places = {0};
    enum err rc = ERR_OK;
    find_places(&places);
    *out = find_in_places(&places, name, "model_index.json");
    /* an installed name comes first: which folder one stands in must not change what
     * the default model is */
    if (!*out)
        rc = file_is_dir(name) ? find_path(name, out, em) : not_found(name, &places, em);
    places_deinit(&places);
    return rc;
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

enum err registry_list(void (*fn)(void *ctx, const char *name, const char *path), void *ctx,
                       struct errmsg *em)
{
    struct places places = {0};
    enum err rc = ERR_OK;
    find_places(&places);
    for (size_t i = 0; i < places.n; i++) {
        struct dirent **entries = NULL;
        int n = scandir(places.dirs[i], &entries, NULL, compare_names);
        for (int j = 0; j < n; j++) {
            char *dir = path_join(places.dirs[i], entries[j]->d_name);
            char *index = dir ? path_join(dir, "model_index.json") : NULL;
            if (!index)
                rc = err_nomem(em, PATH_MAX);
            else if (entries[j]->d_name[0] != '.' && file_exists(index))
                fn(ctx, entries[j]->d_name, dir);
            free(index);
            free(dir);
            free(entries[j]);
        }
        free(entries);
    }
    places_deinit(&places);
    return rc;
}

char *registry_find_preview(void)
{
    struct places places = {0};
    find_places(&places);
    char *dir = find_in_places(&places, PREVIEW_MODEL, "config.json");
    places_deinit(&places);
    return dir;
}
