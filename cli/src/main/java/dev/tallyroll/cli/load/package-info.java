/** Loads files into a source table. */
@NullMarked
package dev.tallyroll.cli.load;

import org.jspecify.annotations.NullMarked;
