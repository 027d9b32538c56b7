/* SPDX-License-Identifier: MIT */
#pragma once

/* Memory that only the start needed. */

/*
 * Gives it back: heap that was freed, and pages of programs and libraries that were mapped while
 * they were linked and set up. What is needed again comes back by itself, from the page cache. To
 * be called once, when all is set up; it cannot fail in a way that matters.
 */
void trim_after_start(void);
