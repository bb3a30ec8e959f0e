/** What a server does by itself: refresh, retention, partitions, keys; and how it is. */
@NullMarked
package dev.tallyroll.server.upkeep;

import org.jspecify.annotations.NullMarked;
