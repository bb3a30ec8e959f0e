@NullMarked
package dev.tallyroll.schema.report;

import org.jspecify.annotations.NullMarked;
