/** What audits and checks find: rules, findings, and which of them a team lives with. */
@NullMarked
package dev.tallyroll.schema.finding;

import org.jspecify.annotations.NullMarked;
