/* SPDX-License-Identifier: MIT */
/* A task in memory. */
#include "store/task.h"

#include <stdlib.h>
#include <string.h>

const char *task_state_name(enum task_state s)
{
    switch (s) {
    case TASK_CREATED:
        return "CREATED";
    case TASK_IN_PROGRESS:
        return "IN_PROGRESS";
    case TASK_COMPLETED:
        return "COMPLETED";
    case TASK_FAILED:
        break;
    }
    return "FAILED";
}

bool task_state_may_follow(enum task_state from, enum task_state to)
{
    static const bool may[4][4] = {
        [TASK_CREATED] = {[TASK_IN_PROGRESS] = true, [TASK_FAILED] = true},
        [TASK_IN_PROGRESS] = {[TASK_CREATED] = true, [TASK_COMPLETED] = true, [TASK_FAILED] = true},
        [TASK_FAILED] = {[TASK_CREATED] = true},
    };
    return (unsigned)from < 4 && (unsigned)to < 4 && may[from][to];
}

int64_t task_charge(const struct task *t, enum task_state state)
{
    return state == TASK_FAILED ? 0 : t->cost_microcredits;
}

void gen_request_deinit(struct gen_request *r)
{
    if (!r)
        return;
    free(r->prompt);
    free(r->model);
    free(r->format);
    for (size_t i = 0; i < r->n_references; i++)
        free(r->references[i]);
    free(r->webhook_url);
    free(r->webhook_secret);
    *r = (struct gen_request){0};
}

static bool copy_text(char **out, const char *text)
{
    *out = text ? strdup(text) : NULL;
    return *out || !text;
}

enum err gen_request_copy(struct gen_request *out, const struct gen_request *in, struct errmsg *em)
{
    struct gen_request r = *in;
    r.prompt = r.model = r.format = r.webhook_url = r.webhook_secret = NULL;
    memset(r.references, 0, sizeof r.references);
    bool ok = copy_text(&r.prompt, in->prompt) && copy_text(&r.model, in->model) &&
              copy_text(&r.format, in->format) && copy_text(&r.webhook_url, in->webhook_url) &&
              copy_text(&r.webhook_secret, in->webhook_secret);
    for (size_t i = 0; ok && i < in->n_references; i++)
        ok = copy_text(&r.references[i], in->references[i]);
    if (!ok) {
        gen_request_deinit(&r);
        return err_set(em, ERR_NOMEM, "out of memory for a request");
    }
    *out = r;
    return ERR_OK;
}

void task_deinit(struct task *t)
{
    if (!t)
        return;
    gen_request_deinit(&t->request);
    free(t->error);
    free(t->result);
    free(t->enhanced_prompt);
    free(t->progress_stage);
    *t = (struct task){0};
}
