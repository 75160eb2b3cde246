//! Blobs over HTTP: resumed uploads, ranges, and what is refused.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Served, http, patient, random};

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

struct Upload {
    id: String,
    secret: String,
    total: usize,
}

impl Upload {
    fn new(total: usize) -> Self {
        Self { id: hex(&random::<32>()), secret: hex(&random::<32>()), total }
    }

    fn put(&self, offset: usize, length: usize) -> String {
        format!(
            "PUT /v1/blobs/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUpload-Offset: {offset}\r\nUpload-Length: {}\r\n\
             Upload-Secret: {}\r\nContent-Length: {length}\r\n\r\n",
            self.id, self.total, self.secret
        )
    }

    fn get(&self, method: &str, more: &str) -> String {
        format!("{method} /v1/blobs/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n", self.id)
    }
}

/// Behind a proxy each client has the rates of its own address, and nobody can name another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_11_who_comes_through_a_trusted_proxy_has_rates_of_his_own() {
    for trusts in [true, false] {
        let mut configured = super::support::config();
        configured.rates.blob_writes_per_range = relay::core::Quota::per_hour(1, 1);
        let mut connections = relay::config::Connections::default();
        if trusts {
            connections.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        }
        let served = Served::with(configured, connections).await;
        let mut statuses = Vec::new();
        for forwarded in ["192.0.2.1", "198.51.100.1", "203.0.113.5, 192.0.2.7"] {
            let upload = Upload::new(0);
            let put = upload.put(0, 0).replace("Host: x\r\n", &format!("Host: x\r\nX-Forwarded-For: {forwarded}\r\n"));
            statuses.push(http(served.address, &put, b"").await.0);
        }
        assert_eq!(statuses, if trusts { [201, 201, 429] } else { [201, 429, 429] });
    }
}

fn code(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_where_it_broke_off_and_a_download_too() {
    let served = Served::start().await;
    let bytes: Vec<u8> = (0..3_500_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let upload = Upload::new(bytes.len());
    let at = served.address;

    // Announces all, sends a part, and is gone.
    let mut broken = TcpStream::connect(at).await.unwrap();
    broken.write_all(upload.put(0, bytes.len()).as_bytes()).await.unwrap();
    broken.write_all(&bytes[..1_600_000]).await.unwrap();
    broken.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = patient(broken.read_to_end(&mut rest)).await;

    let (status, head, _) = http(at, &upload.get("HEAD", ""), b"").await;
    assert_eq!(status, 200);
    let offset = head.lines().find_map(|line| line.strip_prefix("upload-offset: ")).unwrap().parse::<usize>().unwrap();
    assert!((1 << 20..=1_600_000).contains(&offset), "{offset} bytes are durable");
    assert_eq!(http(at, &upload.get("GET", ""), b"").await.0, 404, "not readable before it is complete");

    let (status, head, _) = http(at, &upload.put(offset, bytes.len() - offset), &bytes[offset..]).await;
    assert_eq!(status, 201, "{head}");
    let (status, _, body) = http(at, &upload.get("GET", ""), b"").await;
    assert!(status == 200 && body == bytes);
    let (status, head, body) = http(at, &upload.get("GET", "Range: bytes=3000000-\r\n"), b"").await;
    assert!(status == 206 && body == bytes[3_000_000..]);
    assert!(head.contains("content-range: bytes 3000000-3499999/3500000"), "{head}");
    assert_eq!(http(at, &upload.get("GET", "Range: bytes=3500000-\r\n"), b"").await.0, 416);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_an_upload_is_refused() {
    let served = Served::start().await;
    let at = served.address;
    let mut upload = Upload::new(10);
    assert_eq!(http(at, &upload.get("GET", ""), b"").await.0, 404);
    assert_eq!(http(at, &upload.put(0, 4), b"0123").await.0, 202);

    let (status, _, body) = http(at, &upload.put(7, 3), b"789").await;
    assert_eq!((status, code(&body)), (409, "conflict".into()), "a hole");
    let (status, _, body) = http(at, &upload.put(4, 7), b"456789x").await;
    assert_eq!((status, code(&body)), (413, "too_large".into()), "longer than announced");
    let (status, _, body) = http(at, &upload.put(11, 0), b"").await;
    assert_eq!((status, code(&body)), (400, "malformed".into()), "beyond the end");
    let secret = std::mem::replace(&mut upload.secret, hex(&random::<32>()));
    let (status, _, _) = http(at, &upload.put(4, 6), b"456789").await;
    assert!(status == 403 || status == 404, "somebody else's upload: {status}");
    upload.secret = secret;
    assert_eq!(http(at, &upload.put(4, 6), b"456789").await.0, 201);
    assert_eq!(http(at, &upload.get("GET", ""), b"").await.2, b"0123456789");
    let (status, _, _) = http(at, &upload.put(10, 0), b"").await;
    assert!(status == 201 || status == 409, "complete: {status}");

    let vast = Upload::new(1 << 40);
    let (status, _, body) = http(at, &vast.put(0, 1), b"0").await;
    assert_eq!((status, code(&body)), (413, "too_large".into()));
    for header in ["Upload-Offset", "Upload-Length", "Upload-Secret"] {
        let request = Upload::new(1).put(0, 1).replacen(header, "X-Other", 1);
        let (status, _, body) = http(at, &request, b"0").await;
        assert_eq!((status, code(&body)), (400, "malformed".into()), "without {header}");
    }
    served.is_healthy().await;
}
