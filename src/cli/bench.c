/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/progress.h"

static const char help[] =
    "Usage: easel bench kernels [--threads N] [--json]\n"
    "       easel bench model MODEL [-s WxH] [--steps N] [-i PICTURE] [--threads N] [--json]\n"
    "\n"
    "  kernels  GFLOP/s of each kernel on the shapes of klein-4B and of the embedded\n"
    "           model, and the share of this processor's own peak, measured in the\n"
    "           same run\n"
    "  model    seconds and GFLOP/s of each stage of one picture (default size: 256x256),\n"
    "           and the share of the peak; arithmetic is counted as direct work, so that\n"
    "           decode, where Winograd's method saves some, can pass 100 %\n"
    "\n"
    "Examples:\n"
    "  easel bench kernels\n"
    "  EASEL_CPU=avx2 easel bench kernels --json\n"
    "  easel bench model nano -s 1024x768\n";

struct bench_command {
    struct easel_model_options model;
    struct easel_draw_options draw;
    struct easel_reference reference;
    bool json;
    bool for_model; /* options that only a model has use for */
    json_t *rows;
    size_t n_rows;
};

enum { OPT_STEPS = 256, OPT_THREADS, OPT_JSON };

static const struct option long_options[] = {
    {"size", required_argument, NULL, 's'},
    {"image", required_argument, NULL, 'i'},
    {"help", no_argument, NULL, 'h'},
    {"steps", required_argument, NULL, OPT_STEPS},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"json", no_argument, NULL, OPT_JSON},
    {NULL, 0, NULL, 0},
};

static int parse_option(struct bench_command *c, int option, const char *arg)
{
    c->for_model = c->for_model || option == 's' || option == 'i' || option == OPT_STEPS;
    switch (option) {
    case 's':
        if (!cli_parse_size(arg, &c->draw.width, &c->draw.height))
            return cli_usage("bench", "a size is WIDTHxHEIGHT, such as 256x256; not \"%s\"", arg);
        return 0;
    case 'i':
        easel_free((void *)(uintptr_t)c->reference.bytes);
        c->reference.bytes = NULL;
        return cli_option_reference(arg, &c->reference);
    case OPT_STEPS:
        return cli_option_steps("bench", arg, &c->draw.steps);
    case OPT_THREADS:
        return cli_option_threads("bench", arg, &c->model.n_threads);
    default:
        c->json = true;
        return 0;
    }
}

static void on_row(void *user, const struct easel_bench_row *row)
{
    struct bench_command *c = user;
    if (c->json) {
        json_array_append_new(
            c->rows, json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f}", "operation",
                               row->operation, "layer", row->layer, "shape", row->shape, "dtype",
                               row->dtype, "ms", row->ms, "gflops", row->gflops, "gbytes_per_s",
                               row->gbytes_per_s, "share_of_peak", row->share_of_peak));
        return;
    }
    if (!c->n_rows++)
        printf("%-10s %-30s %-24s %-5s %10s %16s %8s\n", "operation", "layer", "shape", "type",
               "ms", "speed", "of peak");
    printf("%-10s %-30s %-24s %-5s %10.3f ", row->operation, row->layer, row->shape, row->dtype,
           row->ms);
    if (row->gbytes_per_s > 0)
        printf("%11.1f GB/s", row->gbytes_per_s);
    else
        printf("%8.1f GFLOP/s", row->gflops);
    printf(" %6.0f %%\n", 100 * row->share_of_peak);
    fflush(stdout);
}

static int bench_kernels(struct bench_command *c)
{
    struct easel_error error;
    struct easel_bench_limits limits = {0};
    int code = 0;
    c->rows = json_array();
    enum easel_status status = easel_bench_kernels(&c->model, on_row, c, &limits, &error);
    if (!status && c->json) {
        code = cli_print_json(json_pack("{s:f, s:f, s:O}", "peak_gflops", limits.peak_gflops,
                                        "peak_gbytes_per_s", limits.peak_gbytes_per_s, "rows",
                                        c->rows),
                              JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    } else if (!status) {
        printf("\nPeak of this machine, measured in turns with the above: %.1f GFLOP/s of fused "
               "multiply-adds,\n%.1f GB/s read from memory.\n",
               limits.peak_gflops, limits.peak_gbytes_per_s);
    }
    json_decref(c->rows);
    return status ? cli_failed(status, &error) : code;
}

static json_t *stages_json(const struct easel_picture *p, const struct easel_bench_picture *b)
{
    json_t *stages = json_object();
    for (int i = 0; i < EASEL_N_STAGES; i++)
        if (p->seconds[i] > 0)
            json_object_set_new(
                stages, easel_stage_name((enum easel_stage)i),
                json_pack("{s:f, s:f, s:f, s:f, s:f}", "seconds", p->seconds[i], "tflop",
                          p->flops[i] * 1e-12, "gflops", b->stages[i].gflops, "peak_gflops",
                          b->stages[i].peak_gflops, "share_of_peak", b->stages[i].share_of_peak));
    return stages;
}

static int print_picture_json(const struct easel_model_info *info, const struct easel_picture *p,
                              const struct easel_bench_picture *b)
{
    json_t *o = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:f, s:o, s:f, s:o, s:f, s:f, s:I}",
                          "model", info->name, "cpu", info->cpu, "threads", (int)info->n_threads,
                          "width", (int)p->width, "height", (int)p->height, "steps", (int)p->steps,
                          "seconds_per_step", p->seconds[EASEL_STAGE_DENOISE] / p->steps, "seconds",
                          cli_json_seconds(p), "seconds_total", p->seconds_total, "stages",
                          stages_json(p, b), "peak_gflops", b->peak_gflops, "guidance", p->guidance,
                          "peak_memory_bytes", (json_int_t)p->peak_memory_bytes);
    return cli_print_json(o, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
}

static void print_stage(const char *name, double seconds, double flops,
                        const struct easel_bench_stage *s)
{
    printf("%-16s %10.3f s", name, seconds);
    if (s->gflops > 0)
        printf(" %10.1f GFLOP %10.1f GFLOP/s %6.0f %%", flops * 1e-9, s->gflops,
               100 * s->share_of_peak);
    putchar('\n');
}

static void print_picture(const struct easel_model_info *info, const struct easel_picture *p,
                          const struct easel_bench_picture *b)
{
    char memory[32];
    double steps = p->steps;
    printf("%s, %ux%u, %u steps, %s kernels, %u threads\n\n", info->name, p->width, p->height,
           p->steps, info->cpu, info->n_threads);
    printf("%-16s %12s %16s %18s %8s\n", "stage", "time", "work", "speed", "of peak");
    for (int i = 0; i < EASEL_N_STAGES; i++)
        if (p->seconds[i] > 0)
            print_stage(easel_stage_name((enum easel_stage)i), p->seconds[i], p->flops[i],
                        &b->stages[i]);
    print_stage("a step", p->seconds[EASEL_STAGE_DENOISE] / steps,
                p->flops[EASEL_STAGE_DENOISE] / steps, &b->stages[EASEL_STAGE_DENOISE]);
    printf("%-16s %10.3f s\n", "total", p->seconds_total);
    printf("%-16s %12s\n", "peak memory", cli_bytes(p->peak_memory_bytes, memory, sizeof memory));
    printf("\nPeak of this machine, measured in turns with the above: %.1f GFLOP/s of fused "
           "multiply-adds.\n",
           b->peak_gflops);
}

static int bench_model(struct bench_command *c, const char *name)
{
    struct easel_error error;
    struct easel_model *model = NULL;
    struct easel_picture *picture = NULL;
    struct easel_bench_picture measured;
    struct progress_view view;
    int code = 0;
    enum easel_status status = easel_model_open(name, &c->model, &model, &error);
    if (!status) {
        cli_catch_interrupts();
        progress_view_init(&view, c->json, false);
        progress_view_start(&view);
        c->draw.prompt = "a red apple on a blue background";
        c->draw.seed = 1;
        c->draw.on_progress = progress_view_callback;
        c->draw.user = &view;
        if (c->reference.bytes) {
            c->draw.references = &c->reference;
            c->draw.n_references = 1;
        }
        status = easel_bench_model(model, &c->draw, &picture, &measured, &error);
        progress_view_end(&view);
    }
    if (!status && c->json)
        code = print_picture_json(easel_model_info(model), picture, &measured);
    else if (!status)
        print_picture(easel_model_info(model), picture, &measured);
    easel_picture_free(picture);
    easel_model_close(model);
    return status ? cli_failed(status, &error) : code;
}

static int run(struct bench_command *c, int argc, char **argv)
{
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "s:i:h", long_options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option == '?')
            return cli_usage("bench", "%s is not an option, or lacks its value", argv[optind - 1]);
        int rc = parse_option(c, option, optarg);
        if (rc)
            return rc;
    }
    if (argc - optind == 1 && !strcmp(argv[optind], "kernels") && c->for_model)
        return cli_usage("bench", "size, steps and pictures are for bench model");
    if (argc - optind == 1 && !strcmp(argv[optind], "kernels"))
        return bench_kernels(c);
    if (argc - optind == 2 && !strcmp(argv[optind], "model"))
        return bench_model(c, argv[optind + 1]);
    return cli_usage("bench", "say kernels, or model MODEL");
}

int cmd_bench(int argc, char **argv)
{
    struct bench_command c = {0};
    easel_model_defaults(&c.model);
    easel_draw_defaults(&c.draw);
    c.draw.width = c.draw.height = 256;
    c.model.cpu = getenv("EASEL_CPU");
    int rc = run(&c, argc, argv);
    easel_free((void *)(uintptr_t)c.reference.bytes);
    return rc;
}
