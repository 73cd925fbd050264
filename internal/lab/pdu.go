package lab

// The SNMP v2c protocol of the agents (RFC 3416): Get, GetNext, GetBulk; a Set
// is refused.

const (
	pduGet      = 0xa0
	pduGetNext  = 0xa1
	pduResponse = 0xa2
	pduSet      = 0xa3
	pduGetBulk  = 0xa5

	errNotWritable = 17
	maxMessage     = 1400 // keeps an answer in one Ethernet frame
)

type request struct {
	kind      byte
	id        int64
	nonRep    int64
	maxRep    int64
	names     []oid
	community []byte
}

func parseRequest(b []byte) (request, error) {
	var q request
	msg, _, err := readTag(b, tagSequence)
	if err != nil {
		return q, err
	}
	version, msg, err := readInt(msg)
	if err != nil || version != 1 {
		return q, errBER
	}
	if q.community, msg, err = readTag(msg, tagOctets); err != nil {
		return q, err
	}
	kind, pdu, _, err := readTLV(msg)
	if err != nil {
		return q, err
	}
	q.kind = kind
	if q.id, pdu, err = readInt(pdu); err != nil {
		return q, err
	}
	if q.nonRep, pdu, err = readInt(pdu); err != nil {
		return q, err
	}
	if q.maxRep, pdu, err = readInt(pdu); err != nil {
		return q, err
	}
	list, _, err := readTag(pdu, tagSequence)
	for err == nil && len(list) > 0 {
		var vb, name []byte
		if vb, list, err = readTag(list, tagSequence); err != nil {
			break
		}
		if name, _, err = readTag(vb, tagOID); err != nil {
			break
		}
		var o oid
		if o, err = readOID(name); err == nil {
			q.names = append(q.names, o)
		}
	}
	return q, err
}

// answer returns the response message, or nil where none is due.
func (a *agent) answer(b []byte) ([]byte, error) {
	q, err := parseRequest(b)
	if err != nil || string(q.community) != a.community {
		return nil, err
	}
	var vbs []byte
	status, index := int64(0), int64(0)
	switch q.kind {
	case pduGet:
		for _, o := range q.names {
			vbs = appendVarbind(vbs, o, a.get(o))
		}
	case pduGetNext:
		for _, o := range q.names {
			vbs, _ = a.appendNext(vbs, o)
		}
	case pduGetBulk:
		vbs = a.bulk(q)
	case pduSet:
		status, index = errNotWritable, 1
		for _, o := range q.names {
			vbs = appendVarbind(vbs, o, exception(tagNull))
		}
	default:
		return nil, errBER
	}
	pdu := appendTLV(nil, tagInteger, signed(q.id))
	pdu = appendTLV(pdu, tagInteger, signed(status))
	pdu = appendTLV(pdu, tagInteger, signed(index))
	pdu = appendTLV(pdu, tagSequence, vbs)
	msg := appendTLV(nil, tagInteger, signed(1))
	msg = appendTLV(msg, tagOctets, q.community)
	msg = appendTLV(msg, pduResponse, pdu)
	return appendTLV(nil, tagSequence, msg), nil
}

func (a *agent) get(o oid) value {
	if i, ok := a.tree.find(o); ok {
		return a.tree[i].get()
	}
	return exception(tagNoSuchObj)
}

// appendNext appends the object after o, passing over rows that are not there
// just now, and returns its name.
func (a *agent) appendNext(d []byte, o oid) ([]byte, oid) {
	for at := o; ; {
		e, ok := a.tree.next(at)
		if !ok {
			return appendVarbind(d, o, exception(tagEndOfMib)), o
		}
		if v := e.get(); v.tag != tagNoSuchIns {
			return appendVarbind(d, e.oid, v), e.oid
		}
		at = e.oid
	}
}

// bulk answers a GetBulk, cut where the message would grow too long.
func (a *agent) bulk(q request) []byte {
	var d []byte
	non := int(min(max(q.nonRep, 0), int64(len(q.names))))
	for _, o := range q.names[:non] {
		d, _ = a.appendNext(d, o)
	}
	at := append([]oid(nil), q.names[non:]...)
	for range q.maxRep {
		for i := range at {
			var more []byte
			more, at[i] = a.appendNext(nil, at[i])
			if len(d)+len(more) > maxMessage && len(d) > 0 {
				return d
			}
			d = append(d, more...)
		}
		if len(at) == 0 {
			break
		}
	}
	return d
}
