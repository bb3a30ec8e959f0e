/** Who asks, by a credential. */
@NullMarked
package dev.tallyroll.server.access;

import org.jspecify.annotations.NullMarked;
