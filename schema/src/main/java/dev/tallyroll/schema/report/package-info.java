/** Findings for other programs, and those of before. */
@NullMarked
package dev.tallyroll.schema.report;

import org.jspecify.annotations.NullMarked;
