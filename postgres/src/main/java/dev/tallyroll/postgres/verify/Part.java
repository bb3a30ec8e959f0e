package dev.tallyroll.postgres.verify;

import dev.tallyroll.model.time.Grain;
import java.util.List;

/**
 * A range that is compared in one snapshot.
 *
 * @param from its start, in microseconds since the epoch
 * @param to its end
 * @param grains those whose whole buckets it holds
 */
record Part(long from, long to, List<Grain> grains) {}
