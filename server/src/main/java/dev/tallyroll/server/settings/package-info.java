/** What a server can be told, by options, environment and file. */
@NullMarked
package dev.tallyroll.server.settings;

import org.jspecify.annotations.NullMarked;
