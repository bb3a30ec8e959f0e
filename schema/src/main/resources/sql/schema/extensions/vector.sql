-- pgvector's types and operators, as far as schemas name them; distances are all 0.
create type {schema}.vector;
create function {schema}.vector_in(cstring, oid, integer) returns {schema}.vector language internal immutable strict parallel safe as 'varcharin';
create function {schema}.vector_out({schema}.vector) returns cstring language internal immutable strict parallel safe as 'varcharout';
create function {schema}.vector_typmod_in(cstring[]) returns integer language internal immutable strict parallel safe as 'varchartypmodin';
create function {schema}.vector_typmod_out(integer) returns cstring language internal immutable strict parallel safe as 'varchartypmodout';
create type {schema}.vector (input = {schema}.vector_in, output = {schema}.vector_out, typmod_in = {schema}.vector_typmod_in, typmod_out = {schema}.vector_typmod_out, like = text);
create cast (text as {schema}.vector) without function as assignment;
create function {schema}.l2_distance({schema}.vector, {schema}.vector) returns double precision language sql immutable as 'select 0.0::double precision';
create function {schema}.inner_product({schema}.vector, {schema}.vector) returns double precision language sql immutable as 'select 0.0::double precision';
create function {schema}.cosine_distance({schema}.vector, {schema}.vector) returns double precision language sql immutable as 'select 0.0::double precision';
create operator {schema}.<-> (leftarg = {schema}.vector, rightarg = {schema}.vector, function = {schema}.l2_distance);
create operator {schema}.<#> (leftarg = {schema}.vector, rightarg = {schema}.vector, function = {schema}.inner_product);
create operator {schema}.<=> (leftarg = {schema}.vector, rightarg = {schema}.vector, function = {schema}.cosine_distance);
