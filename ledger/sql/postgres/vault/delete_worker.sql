delete from workers where instance = $1
