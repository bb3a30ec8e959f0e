/** Looks at a schema's catalogs for faults of tenancy, and says how to mend each. */
@NullMarked
package dev.tallyroll.schema.audit;

import org.jspecify.annotations.NullMarked;
