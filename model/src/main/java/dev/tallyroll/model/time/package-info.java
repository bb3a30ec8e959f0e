/** Time: grains, local calendar buckets, and the tiling of a local range by grains. */
@NullMarked
package dev.tallyroll.model.time;

import org.jspecify.annotations.NullMarked;
