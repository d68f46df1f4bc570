package router

// crc16Table[k][b] is the CRC-16/XMODEM (polynomial 0x1021, initial value 0, no reflection) of byte b
// followed by k zero bytes. With four tables the loop below takes four bytes a step: the checksum of
// b0 b1 b2 b3 is the XOR of each byte's own contribution, because CRCs are linear.
var crc16Table = makeCRC16Table()

func makeCRC16Table() (t [4][256]uint16) {
	const poly = 0x1021
	for b := range 256 {
		crc := uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ poly
			} else {
				crc <<= 1
			}
		}
		t[0][b] = crc
	}
	for k := 1; k < len(t); k++ {
		for b := range 256 {
			prev := t[k-1][b]
			t[k][b] = prev<<8 ^ t[0][prev>>8]
		}
	}
	return t
}

// crc16 is the checksum that Redis Cluster maps keys with.
func crc16(p []byte) uint16 {
	var crc uint16
	for len(p) >= 4 {
		crc = crc16Table[3][p[0]^byte(crc>>8)] ^
			crc16Table[2][p[1]^byte(crc)] ^
			crc16Table[1][p[2]] ^
			crc16Table[0][p[3]]
		p = p[4:]
	}
	for _, b := range p {
		crc = crc<<8 ^ crc16Table[0][byte(crc>>8)^b]
	}
	return crc
}
