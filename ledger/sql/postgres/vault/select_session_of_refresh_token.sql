select session from refresh_tokens where hash = $1
