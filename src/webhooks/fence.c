/* SPDX-License-Identifier: MIT */
#include "webhooks/fence.h"

#include <stdio.h>

#include "webhooks/webhooks_impl.h"

/* curl is about to connect to this address, which the name may have had since a moment only:
 * here is where no resolver can lie any more. */
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct fence *f = ctx;
    char text[ADDRESS_TEXT_MAX];
    (void)purpose;
    enum address_kind kind = address_kind_of(&a->addr);
    if (!address_allowed(kind, f->allow_private)) {
        address_write(&a->addr, text);
        snprintf(f->refused, sizeof f->refused, "%s is %s", text, address_kind_text(kind));
        return CURL_SOCKET_BAD;
    }
    if (f->look) /* the next address, please */
        return CURL_SOCKET_BAD;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

bool fence_set(CURL *easy, struct fence *f)
{
    return !curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") &&
           !curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) &&
           !curl_easy_setopt(easy, CURLOPT_PROXY, "") &&
           !curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) &&
           !curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) &&
           !curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, f);
}
