/* cli/links.c - see links.h. */
#include "cli/links.h"

#include "conf/conf.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct cli_link links[] = {
    { "sendmail", link_sendmail },
    { "mailq", link_mailq },
    { "postcat", link_postcat },
    { "postqueue", link_postqueue },
    { "postsuper", link_postsuper },
    { "newaliases", link_newaliases },
    { "postmap", link_postmap },
    { "postalias", link_postalias },
    { "postconf", link_postconf },
    { "postfix", link_postfix },
    { NULL, NULL },
};
#define N_LINKS (sizeof links / sizeof *links - 1)

const char *
links_name(size_t i)
{
    return i < N_LINKS ? links[i].name : NULL;
}

const struct cli_link *
links_find(const char *argv0)
{
    const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
    const char *name = slash ? slash + 1 : argv0;

    for (size_t i = 0; name && links[i].name; i++)
        if (strcmp(links[i].name, name) == 0)
            return &links[i];
    return NULL;
}

const char *
link_conf_path(const char *option, char *out)
{
    const char *dir = option ? option : secure_getenv("MAIL_CONFIG");
    struct stat st;

    if (dir == NULL || dir[0] == '\0')
        dir = conf_default_dir();
    if (stat(dir, &st) == 0 && S_ISREG(st.st_mode))
        snprintf(out, PATH_MAX, "%s", dir);
    else
        snprintf(out, PATH_MAX, "%s/main.cf", dir);
    return out;
}
