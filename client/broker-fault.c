/* SPDX-License-Identifier: MIT */

#include "broker-fault.h"

#include <stdarg.h>
#include <stdio.h>

int broker_error_set(struct broker_error *error, enum broker_fault fault, const char *format, ...)
{
        va_list arguments;

        error->fault = fault;
        va_start(arguments, format);
        (void)vsnprintf(error->text, sizeof(error->text), format, arguments);
        va_end(arguments);
        for (char *at = error->text; *at; at++)
                if (*at < 0x20 || *at > 0x7e)
                        *at = '?';
        return (int)fault;
}
