/** What the tests of several packages share. */
@NullMarked
package dev.tallyroll.schema;

import org.jspecify.annotations.NullMarked;
