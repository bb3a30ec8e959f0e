/** What the catalogs of a database say about its tables, keys, policies and roles, read at once. */
@NullMarked
package dev.tallyroll.schema.catalog;

import org.jspecify.annotations.NullMarked;
