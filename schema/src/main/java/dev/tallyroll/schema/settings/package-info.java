/** What a team says of its schema: its tenancy, its roles, and the findings that it lives with. */
@NullMarked
package dev.tallyroll.schema.settings;

import org.jspecify.annotations.NullMarked;
