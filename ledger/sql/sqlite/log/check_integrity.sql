-- Every page, every index against its table, every constraint; `ok` if all of it holds, else at most a hundred lines.
pragma integrity_check(100)
