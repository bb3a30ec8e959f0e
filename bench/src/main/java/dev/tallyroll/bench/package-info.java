/** End-to-end benchmarks: ratios against other things in the same run, on a durable PostgreSQL. */
@NullMarked
package dev.tallyroll.bench;

import org.jspecify.annotations.NullMarked;
