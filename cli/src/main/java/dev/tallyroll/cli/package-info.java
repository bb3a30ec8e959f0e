/** The commands: they parse, call the engine and print. */
@NullMarked
package dev.tallyroll.cli;

import org.jspecify.annotations.NullMarked;
