select to_regnamespace('read') is not null, to_regclass('read.cursors') is not null and to_regclass('read.rebuilds') is not null;
