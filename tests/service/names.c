/* SPDX-License-Identifier: MIT */
/* A resolver for tests, to be preloaded: names that end in ".test" are answered from here.
 * EASEL_TEST_NAMES holds "name=answer/answer …": the n-th look-up of a name gets its n-th
 * answer, later ones the last. An answer is addresses with commas between them, or "never". */
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAMES_MAX 16
#define NEVER_S 60

typedef int (*lookup)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    const char *name;
    int n;
} looked_up[NAMES_MAX];

static int count(const char *name)
{
    int i = 0;
    pthread_mutex_lock(&lock);
    while (looked_up[i].name && strcmp(looked_up[i].name, name) != 0 && i < NAMES_MAX - 1)
        i++;
    if (!looked_up[i].name)
        looked_up[i].name = strdup(name);
    int n = looked_up[i].n++;
    pthread_mutex_unlock(&lock);
    return n;
}

/* The answer for this look-up, in a new string; NULL: no such name. */
static char *answer(const char *name)
{
    const char *p = getenv("EASEL_TEST_NAMES");
    size_t len = strlen(name);
    while (p && *p && (strncmp(p, name, len) != 0 || p[len] != '=')) {
        p += strcspn(p, " ");
        p += *p == ' ';
    }
    if (!p || !*p)
        return NULL;
    p += len + 1;
    for (int n = count(name); n > 0 && p[strcspn(p, "/ ")] == '/'; n--)
        p += strcspn(p, "/ ") + 1;
    return strndup(p, strcspn(p, "/ "));
}

static int resolve(lookup real, char *addresses, const char *service, const struct addrinfo *hints,
                   struct addrinfo **out)
{
    struct addrinfo numeric = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    int family = hints ? hints->ai_family : AF_UNSPEC;
    char *rest = NULL;
    *out = NULL;
    for (char *a = strtok_r(addresses, ",", &rest); a; a = strtok_r(NULL, ",", &rest)) {
        struct addrinfo **last = out;
        numeric.ai_family = strchr(a, ':') ? AF_INET6 : AF_INET;
        if (family != AF_UNSPEC && family != numeric.ai_family)
            continue;
        while (*last)
            last = &(*last)->ai_next;
        if (real(a, service, &numeric, last))
            return EAI_FAIL;
    }
    return *out ? 0 : EAI_NONAME;
}

__attribute__((visibility("default"))) int getaddrinfo(const char *name, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **out)
{
    lookup real = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    size_t len = name ? strlen(name) : 0;
    if (len < 5 || strcmp(name + len - 5, ".test") != 0)
        return real(name, service, hints, out);
    char *addresses = answer(name);
    int rc = EAI_NONAME;
    if (addresses && strcmp(addresses, "never") == 0)
        sleep(NEVER_S);
    else if (addresses)
        rc = resolve(real, addresses, service, hints, out);
    free(addresses);
    return rc;
}
