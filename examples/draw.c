/* SPDX-License-Identifier: MIT */
/* A picture from a prompt, with libeasel:
 *     cc draw.c $(pkg-config --cflags --libs easel) -o draw && ./draw "a cat" cat.png */
#include <easel.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct easel_model *model = NULL;
    struct easel_picture *picture = NULL;
    struct easel_error error;
    struct easel_draw_options options;

    if (argc != 3) {
        fprintf(stderr, "Usage: draw PROMPT FILE\n");
        return 2;
    }
    easel_draw_defaults(&options);
    options.prompt = argv[1];
    enum easel_status status = easel_model_open(NULL, NULL, &model, &error);
    if (!status)
        status = easel_draw(model, &options, &picture, &error);
    if (!status)
        status = easel_picture_save(picture, argv[2], NULL, &error);
    if (status)
        fprintf(stderr, "%s\n", error.message);
    easel_picture_free(picture);
    easel_model_close(model);
    return status ? 1 : 0;
}
