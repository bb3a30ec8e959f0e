/** What the catalogs say of a source table, and definitions bound to it. */
@NullMarked
package dev.tallyroll.postgres.catalog;

import org.jspecify.annotations.NullMarked;
