/* SPDX-License-Identifier: Apache-2.0
 *
 * Two self-signed certificates (EC P-256, to the year 2126) and their keys, of no use outside tests.
 */
#ifndef TESTS_AGENT_CERTIFICATES_H
#define TESTS_AGENT_CERTIFICATES_H

#define CERT_A \
    "-----BEGIN CERTIFICATE-----\n" \
    "MIIBQzCB6aADAgECAhRzpBq2g5HdKFiczYHEnVLn3NjItzAKBggqhkjOPQQDAjAW\n" \
    "MRQwEgYDVQQKDAt3ZWZ0IHRlc3QgQTAgFw0yNjAxMDEwMDAwMDBaGA8yMTI2MDEw\n" \
    "MTAwMDAwMFowFjEUMBIGA1UECgwLd2VmdCB0ZXN0IEEwWTATBgcqhkjOPQIBBggq\n" \
    "hkjOPQMBBwNCAATVTNylHVEJe0Ob0hKlt9nmLpparlPGBO1rSCs9OZRJY3tVhDVM\n" \
    "knWR1Tyvlj+0ufti5H9b/+dgSH3RKu1oy+EUoxMwETAPBgNVHRMBAf8EBTADAQH/\n" \
    "MAoGCCqGSM49BAMCA0kAMEYCIQCA6aEvANAvOAicNUZVS4fyVDH6+//gwQwUlx/7\n" \
    "EfYGiwIhAPwKXIDopjTf48PEfGCwKx3x2YmOehs/S5m9RhY8pVIa\n" \
    "-----END CERTIFICATE-----\n"

#define KEY_A \
    "-----BEGIN PRIVATE KEY-----\n" \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgY7kxYKAK8G0ihtQU\n" \
    "y5VKJh0AnlnkRyzaENE4g1Vjg1ChRANCAATVTNylHVEJe0Ob0hKlt9nmLpparlPG\n" \
    "BO1rSCs9OZRJY3tVhDVMknWR1Tyvlj+0ufti5H9b/+dgSH3RKu1oy+EU\n" \
    "-----END PRIVATE KEY-----\n"

#define CERT_B \
    "-----BEGIN CERTIFICATE-----\n" \
    "MIIBQzCB6aADAgECAhRa/pbISup/u+5S3kJg69wf+o9LtDAKBggqhkjOPQQDAjAW\n" \
    "MRQwEgYDVQQKDAt3ZWZ0IHRlc3QgQjAgFw0yNjAxMDEwMDAwMDBaGA8yMTI2MDEw\n" \
    "MTAwMDAwMFowFjEUMBIGA1UECgwLd2VmdCB0ZXN0IEIwWTATBgcqhkjOPQIBBggq\n" \
    "hkjOPQMBBwNCAATH6Ml9kh58kKM8DdyECAYMflhyiktbtHlq9DjfWMZ8RSbC8xf6\n" \
    "I9ZWpwhOlOwP37JbxMNKJgFvzh4nHhfQbgXHoxMwETAPBgNVHRMBAf8EBTADAQH/\n" \
    "MAoGCCqGSM49BAMCA0kAMEYCIQDbNOcJZkDpBq6XfAAld3DOsyFfHKK/mMIVxWnV\n" \
    "kPULcwIhAPr5DuoRvTZmd7Pqnd1WksYIMpzbT0YLWujZGZdio3L7\n" \
    "-----END CERTIFICATE-----\n"

#define KEY_B \
    "-----BEGIN PRIVATE KEY-----\n" \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgrUE9r2WssMJZS2NA\n" \
    "gUwc+AuLtISAuVyAY8szxlvcl2mhRANCAATH6Ml9kh58kKM8DdyECAYMflhyiktb\n" \
    "tHlq9DjfWMZ8RSbC8xf6I9ZWpwhOlOwP37JbxMNKJgFvzh4nHhfQbgXH\n" \
    "-----END PRIVATE KEY-----\n"

#endif
