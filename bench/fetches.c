/* SPDX-License-Identifier: MIT */

/*
 * fetches URL REQUESTS IN_FLIGHT FORM: the bare loop of libcurl's multi interface: so many requests
 * for tokens, so many at a time, on connections that are kept; FORM and a number is what is sent.
 * What a program would do that only wanted the answers. Tells seconds and processor time as JSON.
 */

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FORM_MAX_BYTES   1024
#define ANSWER_MAX_BYTES 16384

struct fetch {
        size_t size;
        char form[FORM_MAX_BYTES];
        char answer[ANSWER_MAX_BYTES];
};

static _Noreturn void die(const char *what)
{
        (void)fprintf(stderr, "fetches: %s\n", what);
        exit(1);
}

static double seconds(clockid_t clock)
{
        struct timespec ts;

        clock_gettime(clock, &ts);
        return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *data)
{
        struct fetch *fetch = data;

        if (fetch->size + size * n > sizeof(fetch->answer))
                return 0;
        memcpy(fetch->answer + fetch->size, bytes, size * n);
        fetch->size += size * n;
        return size * n;
}

static void begin(CURLM *multi, const char *url, const char *form, unsigned long number)
{
        struct fetch *fetch = malloc(sizeof(*fetch));
        CURL *easy = curl_easy_init();

        if (!fetch || !easy)
                die("memory");
        fetch->size = 0;
        (void)snprintf(fetch->form, sizeof(fetch->form), "%s%lu", form, number);
        curl_easy_setopt(easy, CURLOPT_URL, url);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, fetch->form);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
        curl_easy_setopt(easy, CURLOPT_PRIVATE, fetch);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 15000L);
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
        if (curl_multi_add_handle(multi, easy) != CURLM_OK)
                die("curl_multi_add_handle");
}

static void end(CURLM *multi, const CURLMsg *message)
{
        CURL *easy = message->easy_handle;
        struct fetch *fetch = NULL;
        long status = 0;

        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &fetch);
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        if (message->data.result != CURLE_OK || status != 200)
                die("a fetch has failed");
        curl_multi_remove_handle(multi, easy);
        curl_easy_cleanup(easy);
        free(fetch);
}

int main(int argc, char **argv)
{
        unsigned long n_requests, n_in_flight, n_begun = 0, n_done = 0;
        double began, cpu_began;
        CURLM *multi;

        if (argc != 5 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                die("URL REQUESTS IN_FLIGHT FORM");
        n_requests = strtoul(argv[2], NULL, 10);
        n_in_flight = strtoul(argv[3], NULL, 10);
        multi = curl_multi_init();
        if (!multi)
                die("memory");
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)n_in_flight);

        began = seconds(CLOCK_MONOTONIC);
        cpu_began = seconds(CLOCK_PROCESS_CPUTIME_ID);
        while (n_begun < n_in_flight && n_begun < n_requests)
                begin(multi, argv[1], argv[4], ++n_begun);
        while (n_done < n_requests) {
                const CURLMsg *message;
                int n_running, n_left;

                curl_multi_perform(multi, &n_running);
                while ((message = curl_multi_info_read(multi, &n_left))) {
                        end(multi, message);
                        n_done++;
                        if (n_begun < n_requests)
                                begin(multi, argv[1], argv[4], ++n_begun);
                }
                if (n_done < n_requests)
                        curl_multi_poll(multi, NULL, 0, 1000, NULL);
        }
        printf("{\"requests\": %lu, \"seconds\": %.6f, \"cpu_us\": %.3f}\n", n_done,
               seconds(CLOCK_MONOTONIC) - began,
               (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_began) * 1e6 / (double)n_done);
        curl_multi_cleanup(multi);
        return 0;
}
