-- Members are added to an enum and a set: numbers in the log are read by the members that held when they were written.
-- Elsewhere enum, year and zero date differ between snapshot and stream (peerdb#3183, #3950, materialize#36649,
-- airbyte#81630).
-- table: moods
create table moods (id int primary key, mood enum('good', 'bad'), tags set('a', 'b'), born year);
insert into moods values (1, 'good', 'a', 1970), (2, null, '', 0);
-- run
insert into moods values (3, 'bad', 'a,b', 2155);
alter table moods modify mood enum('good', 'fair', 'bad'), modify tags set('a', 'b', 'c');
insert into moods values (4, 'fair', 'a,c', 1999);
insert into moods values (5, 'bad', 'b,c', null);
-- run
-- expect rows
--   id | mood | tags | born
--   1  | good | a    | 1970
--   2  | null |      | 0
--   3  | bad  | a,b  | 2155
--   4  | fair | a,c  | 1999
--   5  | bad  | b,c  | null
