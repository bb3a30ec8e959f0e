package dev.tallyroll.schema.replay;

/**
 * One migration, in the direction of up.
 *
 * @param name the path of its file below the folder
 * @param sql its text; lines that are not for up are empty, so that line numbers are those of the
 *     file
 * @param isInTransaction whether its runner puts it into a transaction; several statements that are
 *     sent at once are one, too
 */
public record Migration(String name, String sql, boolean isInTransaction) {}
