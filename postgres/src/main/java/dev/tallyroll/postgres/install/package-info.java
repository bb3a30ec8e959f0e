/** Plan, apply and drop: what a rollup adds to a database. */
@NullMarked
package dev.tallyroll.postgres.install;

import org.jspecify.annotations.NullMarked;
