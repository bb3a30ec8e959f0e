/** Makes tenants and keys. */
@NullMarked
package dev.tallyroll.server.admin;

import org.jspecify.annotations.NullMarked;
