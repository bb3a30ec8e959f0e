/** Tries migrations on a scratch database, and what they lock, rewrite and leave behind. */
@NullMarked
package dev.tallyroll.schema.check;

import org.jspecify.annotations.NullMarked;
