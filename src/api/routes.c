/* SPDX-License-Identifier: MIT */
/* Which function answers which path. The two tables at the top are all that knows every
 * dialect. */
#include <string.h>

#include "api/core_impl.h"

static const struct dialect *const dialects[] = {
    [DIALECT_MAGNIFIC] = &dialect_magnific,
    [DIALECT_BFL] = &dialect_bfl,
    [DIALECT_OPENAI] = &dialect_openai,
};

static const struct route_list *const lists[] = {
    &service_routes, &magnific_routes, &bfl_routes, &openai_routes, &openapi_routes,
};

#define N_LISTS (sizeof lists / sizeof lists[0])

const struct dialect *dialect_of(enum task_dialect id)
{
    size_t n = sizeof dialects / sizeof dialects[0];
    return (size_t)id < n && dialects[id] ? dialects[id] : &dialect_magnific;
}

size_t routes_count(void)
{
    size_t n = 0;
    for (size_t i = 0; i < N_LISTS; i++)
        n += lists[i]->n;
    return n;
}

const struct route *routes_at(size_t index)
{
    for (size_t i = 0; i < N_LISTS; i++) {
        if (index < lists[i]->n)
            return &lists[i]->items[index];
        index -= lists[i]->n;
    }
    return NULL;
}

/* Compare segment by segment; what stands for a pattern's {…} is one segment, not empty. */
static bool pattern_matches(const char *pattern, const char *path,
                            char args[API_PATH_ARGS_MAX][API_PATH_ARG_CHARS])
{
    size_t n_args = 0;
    for (;;) {
        if (*pattern == '{') {
            size_t len = strcspn(path, "/");
            if (len == 0 || len >= API_PATH_ARG_CHARS || n_args == API_PATH_ARGS_MAX)
                return false;
            memcpy(args[n_args], path, len);
            args[n_args++][len] = 0;
            path += len;
            pattern += strcspn(pattern, "/");
        } else if (*pattern != *path) {
            return false;
        } else if (!*pattern) {
            return true;
        } else {
            pattern++;
            path++;
        }
    }
}

static bool method_matches(const struct route *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

static void allow_add(char *allow, size_t size, const char *method)
{
    size_t len = strlen(allow), more = strlen(method);
    if (strstr(allow, method) || len + more + 3 > size)
        return;
    if (len) {
        memcpy(allow + len, ", ", 2);
        len += 2;
    }
    memcpy(allow + len, method, more + 1);
}

const struct route *routes_find(const char *method, const char *path,
                                char args[API_PATH_ARGS_MAX][API_PATH_ARG_CHARS], size_t *index,
                                char *allow, size_t allow_size)
{
    size_t n = routes_count();
    allow[0] = 0;
    for (*index = 0; *index < n; (*index)++) {
        const struct route *route = routes_at(*index);
        if (!pattern_matches(route->pattern, path, args))
            continue;
        if (method_matches(route, method))
            return route;
        allow_add(allow, allow_size, route->method);
        if (strcmp(route->method, "GET") == 0)
            allow_add(allow, allow_size, "HEAD");
    }
    if (allow[0])
        allow_add(allow, allow_size, "OPTIONS");
    return NULL;
}
