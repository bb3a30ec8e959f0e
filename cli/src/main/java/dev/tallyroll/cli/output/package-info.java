/** Results as table, JSON or CSV, and progress bars. */
@NullMarked
package dev.tallyroll.cli.output;

import org.jspecify.annotations.NullMarked;
