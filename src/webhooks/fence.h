/* SPDX-License-Identifier: MIT */
/* What holds for every transfer to an address that a client named, so that we are not its way
 * into the inner network: http and https only, no redirects, nothing of the environment (proxy,
 * netrc), and connections only to addresses that are allowed, whatever a name resolved to when
 * it was checked. */
#ifndef EASEL_WEBHOOKS_FENCE_H
#define EASEL_WEBHOOKS_FENCE_H

#include <stdbool.h>

#include <curl/curl.h>

struct fence {
    bool allow_private; /* loopback and private addresses, too */
    bool look;          /* connect to none: only see whether one is refused */
    char refused[96];   /* "127.0.0.1 is a loopback address"; empty: none was */
};
/* f must live as long as the handle. false: out of memory. */
bool fence_set(CURL *easy, struct fence *f);

#endif
