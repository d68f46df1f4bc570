package local

// Error texts in Redis' words that package proxy answers with, too; without the leading '-'.
const (
	ErrSyntax     = "ERR syntax error"
	ErrNotCluster = "ERR This instance has cluster support disabled"
	ErrClientName = "ERR Client names cannot contain spaces, newlines or special characters."
)
